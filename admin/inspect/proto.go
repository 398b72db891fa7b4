package inspect

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// protoTime bounds the compilation of one .proto file.
const protoTime = 10 * time.Second

// CheckProto accepts the source of a .proto file, or base64 of a
// FileDescriptorSet; the error is that of the source.
func CheckProto(ctx context.Context, content string) error {
	ctx, cancel := context.WithTimeout(ctx, protoTime)
	defer cancel()
	const file = "content.proto"
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: protocompile.SourceAccessorFromMap(map[string]string{file: content}),
		}),
		MaxParallelism: 1,
	}
	_, err := c.Compile(ctx, file)
	if err == nil || isDescriptorSet(content) {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), file+":"))
}

func isDescriptorSet(content string) bool {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(content))
	if err != nil {
		return false
	}
	var set descriptorpb.FileDescriptorSet
	return proto.Unmarshal(raw, &set) == nil && len(set.File) > 0
}
