// Package protofile compiles what an object of kind protos holds: the source of
// a .proto file, or base64 of a FileDescriptorSet with all that it imports.
//
// It knows neither the store nor gRPC: it yields descriptors.
package protofile

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// limit bounds the compilation of one file.
const limit = 10 * time.Second

// sourceName is how a source calls itself in the texts of errors.
const sourceName = "content.proto"

// Set is a compiled object: immutable.
type Set struct {
	files linker.Files // those that the object itself brings
}

// Compile compiles content; the error is that of the source when it is neither.
func Compile(ctx context.Context, content string) (*Set, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	files, err := compile(ctx, &protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{sourceName: content}),
	}, []string{sourceName})
	if err == nil {
		return &Set{files}, nil
	}
	set := descriptors(content)
	if set == nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), sourceName+":"))
	}
	byName := make(map[string]*descriptorpb.FileDescriptorProto, len(set.File))
	names := make([]string, 0, len(set.File))
	for _, f := range set.File {
		if byName[f.GetName()] == nil {
			names = append(names, f.GetName())
		}
		byName[f.GetName()] = f
	}
	files, err = compile(ctx, protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
		if f := byName[name]; f != nil {
			return protocompile.SearchResult{Proto: f}, nil
		}
		return protocompile.SearchResult{}, errors.New("not in the set")
	}), names)
	if err != nil {
		return nil, err
	}
	return &Set{files}, nil
}

func compile(ctx context.Context, r protocompile.Resolver, names []string) (linker.Files, error) {
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(r), MaxParallelism: 1}
	return c.Compile(ctx, names...)
}

// descriptors decodes content as base64 of a FileDescriptorSet; nil when it is none.
func descriptors(content string) *descriptorpb.FileDescriptorSet {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(content))
	if err != nil {
		return nil
	}
	var set descriptorpb.FileDescriptorSet
	if proto.Unmarshal(raw, &set) != nil || len(set.File) == 0 {
		return nil
	}
	return &set
}

// Method returns the method of a service, both by name ("pkg.Service", "Method");
// nil when there is none.
func (s *Set) Method(service, method string) protoreflect.MethodDescriptor {
	for _, f := range s.files {
		if d, ok := f.FindDescriptorByName(protoreflect.FullName(service)).(protoreflect.ServiceDescriptor); ok {
			return d.Methods().ByName(protoreflect.Name(method))
		}
	}
	return nil
}

// Message returns the message of that full name, also out of imported files;
// nil when there is none.
func (s *Set) Message(name string) protoreflect.MessageDescriptor {
	seen := map[string]bool{}
	for _, f := range s.files {
		if m := message(f, protoreflect.FullName(strings.TrimPrefix(name, ".")), seen); m != nil {
			return m
		}
	}
	return nil
}

func message(f linker.File, name protoreflect.FullName, seen map[string]bool) protoreflect.MessageDescriptor {
	if f == nil || seen[f.Path()] {
		return nil
	}
	seen[f.Path()] = true
	if m, ok := f.FindDescriptorByName(name).(protoreflect.MessageDescriptor); ok {
		return m
	}
	for i := range f.Imports().Len() {
		if m := message(f.FindImportByPath(f.Imports().Get(i).Path()), name, seen); m != nil {
			return m
		}
	}
	return nil
}
