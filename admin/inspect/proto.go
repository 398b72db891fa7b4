package inspect

import (
	"context"

	"sluice/configcenter/resource/protofile"
)

// CheckProto accepts the source of a .proto file, or base64 of a
// FileDescriptorSet; the error is that of the source.
func CheckProto(ctx context.Context, content string) error {
	_, err := protofile.Compile(ctx, content)
	return err
}
