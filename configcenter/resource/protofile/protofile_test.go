package protofile

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const source = `syntax = "proto3"; package a.b; import "google/protobuf/struct.proto";
message In { string x = 1; google.protobuf.Struct s = 2; message Deep { int32 n = 1; } }
message Out {}
service S { rpc M(In) returns (Out); }`

func TestSource(t *testing.T) {
	s, err := Compile(context.Background(), source)
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Method("a.b.S", "M"); m == nil || m.Input().FullName() != "a.b.In" {
		t.Errorf("method %v", m)
	}
	if s.Method("a.b.S", "N") != nil || s.Method("a.b.T", "M") != nil || s.Method("a.b.In", "x") != nil {
		t.Error("something is found that is not there")
	}
	for _, name := range []string{"a.b.In", "a.b.In.Deep", ".a.b.Out", "google.protobuf.Value"} {
		if s.Message(name) == nil {
			t.Errorf("%s is not found", name)
		}
	}
	if s.Message("a.b.S") != nil || s.Message("a.b.None") != nil {
		t.Error("a message is found that is none")
	}
}

func TestDescriptorSet(t *testing.T) {
	str := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
	one := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		{Name: proto.String("main.proto"), Package: proto.String("p"), Syntax: proto.String("proto3"),
			Dependency: []string{"dep.proto", "google/protobuf/any.proto"},
			Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
				{Name: proto.String("M"), InputType: proto.String(".q.In"), OutputType: proto.String(".google.protobuf.Any")}}}}},
		{Name: proto.String("dep.proto"), Package: proto.String("q"), Syntax: proto.String("proto3"),
			MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("In"),
				Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("x"), JsonName: proto.String("x"), Number: proto.Int32(1), Type: str, Label: one}}}}},
	}}
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(context.Background(), base64.StdEncoding.EncodeToString(raw)+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Method("p.S", "M"); m == nil || m.Input().Fields().ByName("x") == nil {
		t.Errorf("method %v", m)
	}
	set.File = set.File[:1]
	if raw, err = proto.Marshal(set); err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(context.Background(), base64.StdEncoding.EncodeToString(raw)); err == nil || !strings.Contains(err.Error(), "dep.proto") {
		t.Errorf("a set without its import: %v", err)
	}
}

func TestRefused(t *testing.T) {
	for content, want := range map[string]string{
		`message {`:                      "1:9: syntax error",
		`import "x.proto"; message A {}`: "x.proto",
		"AAAA":                           "syntax error",
	} {
		if _, err := Compile(context.Background(), content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(source)
	f.Add("Cg==")
	f.Fuzz(func(t *testing.T, content string) {
		s, err := Compile(context.Background(), content)
		if err == nil {
			s.Message("a.b.In")
		}
	})
}
