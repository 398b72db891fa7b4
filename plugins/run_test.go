package plugins

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"sluice/gateway/redact"
	"sluice/gateway/tally"
	"sluice/gateway/wire"
)

// walkOf is a request with a response, and what it logs.
func walkOf() (*Ctx, *bytes.Buffer) {
	log := &bytes.Buffer{}
	c := &Ctx{}
	c.Reset(context.Background(), &wire.Request{}, nil, slog.New(slog.NewTextHandler(log, nil)))
	c.Resp = &wire.Response{Status: 200, ContentLength: 5}
	return c, log
}

func instanceOf(name string, open bool, p Phases, book *tally.Book) *Instance {
	return &Instance{Spec: &Spec{Name: name}, Open: open, Phases: p, Book: book}
}

// every is an instance that does f in every phase.
func every(f func() error) Phases {
	reply := func(*Ctx) (*Reply, error) { return nil, f() }
	header := func(*Ctx) error { return f() }
	body := func(_ *Ctx, piece []byte, _ bool) ([]byte, error) { return piece, f() }
	return Phases{Rewrite: reply, Access: reply, BeforeProxy: reply, HeaderFilter: header, DelayedHeader: header,
		BodyFilter: body, DelayedBody: body, Log: func(*Ctx) {
			if f() != nil {
				panic("log")
			}
		}}
}

// phasesOf runs every phase of a chain by name.
func phasesOf(ch *Chain) map[string]func(*Ctx) error {
	reply := func(f func(*Ctx) (*Reply, error)) func(*Ctx) error {
		return func(c *Ctx) error { _, err := f(c); return err }
	}
	body := func(f BodyFunc) func(*Ctx) error {
		return func(c *Ctx) error {
			out, err := f(c, []byte("piece"), true)
			if err == nil && string(out) != "piece" {
				return errors.New("the body is " + string(out))
			}
			return err
		}
	}
	return map[string]func(*Ctx) error{"rewrite": reply(ch.Rewrite), "access": reply(ch.Access), "before_proxy": reply(ch.BeforeProxy),
		"header_filter": ch.HeaderFilter, "delayed_header_filter": ch.DelayedHeader, "body_filter": body(ch.BodyFilter),
		"delayed_body_filter": body(ch.DelayedBody), "log": func(c *Ctx) error { ch.Log(c); return nil }}
}

// TestFailModes lets an instance fail in every phase, in both ways and modes:
// those behind it run unless the request ends, and everything is counted.
func TestFailModes(t *testing.T) {
	for _, open := range []bool{false, true} {
		for kind, f := range map[string]func() error{"error": func() error { return errors.New("broken") }, "panic": func() error { panic("broken") }} {
			book := &tally.Book{}
			ran := 0
			ch := NewChain([]*Instance{instanceOf("bad", open, every(f), book),
				instanceOf("good", false, every(func() error { ran++; return nil }), book)}, nil)
			for phase, run := range phasesOf(ch) {
				c, log := walkOf()
				ran = 0
				err := run(c)
				goesOn := open || phase == "log"
				if (err == nil) != goesOn {
					t.Errorf("%s in %s, open %v: %v", kind, phase, open, err)
				}
				if wantRun := goesOn || strings.Contains(phase, "header"); (ran == 1) != wantRun {
					t.Errorf("%s in %s, open %v: the next one ran %d times", kind, phase, open, ran)
				}
				var failure *Failure
				if err != nil && (!errors.As(err, &failure) || failure.Plugin != "bad" || failure.Phase.String() != phase ||
					(len(failure.Stack) > 0) != (kind == "panic")) {
					t.Errorf("%s in %s: %+v", kind, phase, err)
				}
				if goesOn != strings.Contains(log.String(), "plugin=bad phase="+phase) || strings.Count(log.String(), "level=ERROR") > 1 {
					t.Errorf("%s in %s, open %v: log %q", kind, phase, open, log)
				}
				if c.Running() != "" {
					t.Errorf("%s is still running", c.Running())
				}
			}
			for _, r := range book.Read() {
				if failures := r.Errors + r.Panics; r.Plugin == "bad" && failures != 1 || r.Plugin == "good" && failures != 0 {
					t.Errorf("%s, open %v: %+v", kind, open, r)
				}
			}
		}
	}
}

// TestOpenLeavesOut: an instance that failed is left out of the later phases.
func TestOpenLeavesOut(t *testing.T) {
	ran := 0
	p := every(func() error { ran++; return errors.New("broken") })
	ch := NewChain([]*Instance{instanceOf("bad", true, p, nil)}, nil)
	c, _ := walkOf()
	if _, err := ch.Access(c); err != nil {
		t.Fatal(err)
	}
	if ch.HeaderFilter(c) != nil || ran != 1 {
		t.Errorf("ran %d times", ran)
	}
	c.Reset(context.Background(), c.Req, nil, nil)
	ch.Access(c)
	if ran != 2 {
		t.Error("left out of the next request, too")
	}
}

// TestOpenHeader: what a header filter did before it failed is undone.
func TestOpenHeader(t *testing.T) {
	ch := NewChain([]*Instance{instanceOf("bad", true, Phases{HeaderFilter: func(c *Ctx) error {
		c.Resp.Header.Set("A", "2")
		c.Resp.Header.Add("B", "1")
		c.Resp.Status, c.Resp.ContentLength = 404, -1
		panic("half done")
	}}, nil)}, nil)
	c, _ := walkOf()
	c.Resp.Header.Add("A", "1")
	if err := ch.HeaderFilter(c); err != nil || c.Resp.Status != 200 || c.Resp.ContentLength != 5 || c.Resp.Header.Len() != 1 || c.Resp.Header.Get("A") != "1" {
		t.Errorf("%v %+v", err, c.Resp)
	}
}

// TestOpenFilter: when it is the condition that fails, nothing has been done, and
// the header stays as it is. It is not another response's.
func TestOpenFilter(t *testing.T) {
	fails := false
	in := instanceOf("bad", true, Phases{HeaderFilter: func(*Ctx) error { return nil }}, nil)
	in.Filter = func(*Ctx) bool {
		if fails {
			panic("broken")
		}
		return true
	}
	ch := NewChain([]*Instance{in}, nil)
	c, _ := walkOf()
	for i, want := range []string{"one", "two"} {
		fails = i == 1
		c.Reset(context.Background(), c.Req, nil, nil)
		c.Resp = &wire.Response{Status: 200 + i}
		c.Resp.Header.Add("Set-Cookie", want)
		if err := ch.HeaderFilter(c); err != nil || c.Resp.Status != 200+i || c.Resp.Header.Len() != 1 || c.Resp.Header.Get("Set-Cookie") != want {
			t.Errorf("response %d: %v %+v", i, err, c.Resp)
		}
	}
}

// TestOpenBody: a filter can be left out only as long as the client has nothing
// of what it made.
func TestOpenBody(t *testing.T) {
	for _, test := range []struct {
		name   string
		header func(*Ctx) error
		first  func([]byte) []byte
		want   bool // the body goes on
	}{
		{"passes on", nil, func(b []byte) []byte { return b }, true},
		{"changes", nil, bytes.ToUpper, false},
		{"holds back", nil, func([]byte) []byte { return nil }, false},
		{"announces another coding", func(c *Ctx) error { c.Resp.Header.Set("Content-Encoding", "gzip"); return nil },
			func(b []byte) []byte { return b }, false},
		{"announces another length", func(c *Ctx) error { c.Resp.ContentLength = 7; return nil }, func(b []byte) []byte { return b }, false},
		{"leaves the length open", func(c *Ctx) error { c.Resp.ContentLength = -1; return nil }, func(b []byte) []byte { return b }, true},
	} {
		n := 0
		ch := NewChain([]*Instance{instanceOf("bad", true, Phases{HeaderFilter: test.header, BodyFilter: func(_ *Ctx, b []byte, _ bool) ([]byte, error) {
			if n++; n == 2 {
				return nil, errors.New("broken")
			}
			return test.first(b), nil
		}}, nil)}, nil)
		c, _ := walkOf()
		if err := ch.HeaderFilter(c); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.BodyFilter(c, []byte("one"), false); err != nil {
			t.Fatal(err)
		}
		out, err := ch.BodyFilter(c, []byte("two"), false)
		if (err == nil) != test.want || test.want && string(out) != "two" {
			t.Errorf("%s: %q, %v", test.name, out, err)
		}
		if out, _ := ch.BodyFilter(c, []byte("three"), true); test.want && (string(out) != "three" || n != 2) {
			t.Errorf("%s: %q after %d calls", test.name, out, n)
		}
	}
}

// TestClientsFault: what the client did wrong is no failure of the plugin, and
// opens nothing.
func TestClientsFault(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range []error{&BodyTooLargeError{Size: 2, Limit: 1}, &wire.Error{Side: wire.Client, Kind: wire.Timeout, Err: errors.New("slow")}, context.Canceled} {
		book := &tally.Book{}
		ch := NewChain([]*Instance{instanceOf("p", true, every(func() error { return err }), book)}, nil)
		c, _ := walkOf()
		c.Context = gone
		if _, got := ch.Access(c); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		for _, r := range book.Read() {
			if r.Errors != 0 {
				t.Errorf("%v counted: %+v", err, r)
			}
		}
	}
}

// TestSecretsOfFailures: no secret of an instance is in what it fails with or logs.
func TestSecretsOfFailures(t *testing.T) {
	for _, open := range []bool{false, true} {
		for kind, f := range map[string]func(c *Ctx) error{
			"error": func(*Ctx) error { return errors.New("connect redis://:hunter2hunter2@host") },
			"panic": func(*Ctx) error { panic(struct{ P string }{"hunter2hunter2"}) },
			"log":   func(c *Ctx) error { c.Log().Error("hunter2hunter2", "conf", []string{"hunter2hunter2"}); return nil },
		} {
			in := instanceOf("p", open, Phases{Access: func(c *Ctx) (*Reply, error) { return nil, f(c) }}, nil)
			in.Secrets = redact.New([]string{"hunter2hunter2"})
			c, log := walkOf()
			_, err := NewChain([]*Instance{in}, nil).Access(c)
			if kind != "log" && (err == nil) != open {
				t.Errorf("%s, open %v: %v", kind, open, err)
			}
			if err != nil {
				c.Log().Error("request failed", "err", err)
			}
			if strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), redact.Mask) {
				t.Errorf("%s, open %v: %s", kind, open, log)
			}
		}
	}
}

func TestMetaFailMode(t *testing.T) {
	for conf, want := range map[string]string{
		`{"_meta":{"fail_mode":"open"}}`: "", `{"_meta":{"fail_mode":"closed"}}`: "", `{"_meta":{}}`: "",
		`{"_meta":{"fail_mode":"ajar"}}`: `_meta: fail_mode "ajar": it is either "open" or "closed"`,
		`{"_meta":{"fail_mode":1}}`:      `_meta: fail_mode 1: it is either "open" or "closed"`,
	} {
		if _, err := MetaOf([]byte(conf)); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v", conf, err)
		}
	}
	catalog, _, err := NewCatalog(Registry{"p": {Name: "p", Schema: `{"type":"object"}`}}, []string{"p"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Check("p", []byte(`{"_meta":{"fail_mode":"open"}}`), Conf); err != nil {
		t.Error(err)
	}
	if _, err := catalog.Check("p", []byte(`{"_meta":{"fail":"open"}}`), Conf); err == nil {
		t.Error("a member of _meta that nobody knows was accepted")
	}
	if bytes.Contains(catalog.Schema("p", Conf).Text(), []byte("fail_mode")) {
		t.Error("the schema shown is not APISIX's")
	}
}
