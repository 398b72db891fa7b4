package plugins

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"sluice/gateway/wire"
)

func TestPrinted(t *testing.T) {
	c := &Ctx{}
	c.Reset(context.Background(), &wire.Request{}, nil, nil)
	if rep := c.Printed(nil); rep != nil {
		t.Errorf("nothing was printed, got %+v", rep)
	}
	c.Print(201, []byte("a"))
	c.Print(500, []byte("b"))
	if rep := c.Printed(Exit(403, Message{"no"})); rep.Status != 201 || string(rep.Body.([]byte)) != `ab{"message":"no"}`+"\n" {
		t.Errorf("got %d %s", rep.Status, rep.Body)
	}
	if rep := c.Printed(nil); rep != nil {
		t.Errorf("printed twice: %+v", rep)
	}
	c.Print(0, nil)
	c.OnExit(func(_ *Ctx, rep *Reply) *Reply { return Exit(rep.Status+1, nil) })
	if rep := c.Exits(Exit(404, nil)); rep.Status != 405 {
		t.Errorf("status %d", rep.Status)
	}
	c.Reset(context.Background(), &wire.Request{}, nil, nil)
	if rep := c.Exits(Exit(404, nil)); rep.Status != 404 || c.Printed(nil) != nil {
		t.Error("the next request inherits")
	}
}

// TestPrintedBeforeContent: what was stored comes behind what was printed, and is
// closed.
func TestPrintedBeforeContent(t *testing.T) {
	for _, rep := range []*Reply{
		{Status: 200, Body: &Content{Bytes: []byte("stored")}},
		{Status: 200, Body: &Content{Stream: io.NopCloser(strings.NewReader("stored")), Length: 6}},
	} {
		c := &Ctx{}
		c.Reset(context.Background(), &wire.Request{}, nil, nil)
		c.Print(0, []byte("printed "))
		content, ok := c.Printed(rep).Body.(*Content)
		if !ok {
			t.Fatalf("%+v", c.Printed(rep))
		}
		text := content.Bytes
		if content.Stream != nil {
			var err error
			if text, err = io.ReadAll(content.Stream); err != nil || content.Length != int64(len(text)) {
				t.Errorf("%d bytes, %v", content.Length, err)
			}
		}
		if string(text) != "printed stored" {
			t.Errorf("%q", text)
		}
	}
}

func TestPrintedJSON(t *testing.T) {
	c := &Ctx{}
	c.Reset(context.Background(), &wire.Request{}, nil, nil)
	c.Print(0, []byte("a"))
	if rep := c.Printed(Exit(200, json.RawMessage(`{"b": "<"}`))); string(rep.Body.([]byte)) != `a{"b": "<"}`+"\n" {
		t.Errorf("%s", rep.Body)
	}
}

func TestBefore(t *testing.T) {
	var order string
	in := &Instance{Spec: &Spec{Name: "x"}, Phases: Phases{
		Access: func(*Ctx) (*Reply, error) { order += "A"; return nil, nil },
		Log:    func(*Ctx) { order += "L" },
	}, Before: func(_ *Ctx, phase string) { order += "[" + phase + "]" }}
	ch := NewChain([]*Instance{in}, nil)
	c := &Ctx{}
	if _, err := ch.Access(c); err != nil {
		t.Fatal(err)
	}
	ch.Log(c)
	if order != "[access]A[log]L" {
		t.Error(order)
	}
}
