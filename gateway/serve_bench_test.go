package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/gateway/accesslog"
	"sluice/gateway/origin"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router"
)

// sink takes answers without a connection.
type sink struct{ status int }

func (s *sink) Send(r *wire.Response, _ wire.BodyFilter) (wire.Sent, error) {
	s.status = r.Status
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return wire.Sent{Total: 200, Body: 12}, nil
}
func (*sink) Inform(int, *wire.Header) error { return nil }
func (*sink) Tunnel(*wire.Response, io.ReadWriteCloser) (wire.Sent, error) {
	return wire.Sent{}, nil
}

// BenchmarkServe is a request's walk without any input or output: the route's
// only plugin answers at once. What is measured is what the gateway itself
// adds to the engine.
func BenchmarkServe(b *testing.B) {
	ok := &plugins.Reply{Status: 200, Body: []byte("hello world\n")}
	reg := plugins.Registry{"answer": {Name: "answer", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return ok, nil }}, nil
		})}}
	catalog, _, err := plugins.NewCatalog(reg, []string{"answer"})
	if err != nil {
		b.Fatal(err)
	}
	format, err := accesslog.Compile(`$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent $request_time "$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time "$upstream_scheme://$upstream_host$upstream_uri" "$apisix_request_id"`, "default")
	if err != nil {
		b.Fatal(err)
	}
	log, err := accesslog.Open(format, accesslog.Options{Path: filepath.Join(b.TempDir(), "access.log")})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	for _, c := range []struct {
		name string
		log  *accesslog.Log
	}{{"without log", nil}, {"with log", log}} {
		b.Run(c.name, func(b *testing.B) {
			g := New(Options{Catalog: catalog, Shared: &plugins.Shared{}, Mode: router.HostURI, AccessLog: c.log,
				ServerHeader: "APISIX/3.18.0", Charset: "utf-8", Grace: time.Millisecond,
				RealIP: origin.RealIP{Header: "X-Real-IP", From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
			defer g.Close()
			g.take(nil, configcenter.Batch{Rev: 1, Full: true, Changes: []configcenter.Change{{Kind: resource.Routes, ID: "1", Create: 1, Mod: 1,
				Value: json.RawMessage(`{"uri":"/*","plugins":{"answer":{}}}`)}}})
			x := &wire.Exchange{Context: context.Background(), Sender: &sink{}}
			b.ReportAllocs()
			for b.Loop() {
				h := x.Req.Header
				h.Reset()
				h.Add("User-Agent", "bench")
				h.Add("Accept", "*/*")
				x.Req = wire.Request{Method: "GET", Target: "/hello", Host: "foo.com", Major: 1, Minor: 1, Header: h,
					Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Local: netip.MustParseAddrPort("127.0.0.1:9080")}
				g.Serve(x)
			}
			if s := x.Sender.(*sink).status; s != 200 {
				b.Fatal(s)
			}
		})
	}
}

// BenchmarkPlugins is BenchmarkServe's walk through n plugins that do nothing,
// each in three phases: what is measured is the runner's part, counting and
// guarding included.
func BenchmarkPlugins(b *testing.B) {
	nothing := plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return nil, nil },
		HeaderFilter: func(*plugins.Ctx) error { return nil }, Log: func(*plugins.Ctx) {}}
	ok := &plugins.Reply{Status: 200, Body: []byte("hello world\n")}
	reg := plugins.Registry{"answer": {Name: "answer", Priority: -1, Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return ok, nil }}, nil
		})}}
	names := []string{"answer"}
	for i := range 20 {
		name := "nothing" + strconv.Itoa(i)
		names = append(names, name)
		reg[name] = &plugins.Spec{Name: name, Schema: `{"type":"object"}`,
			New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) { return nothing, nil })}
	}
	catalog, _, err := plugins.NewCatalog(reg, names)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{0, 5, 20} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			confs := map[string]struct{}{}
			for _, name := range names[:n+1] {
				confs[name] = struct{}{}
			}
			text, err := json.Marshal(map[string]any{"uri": "/*", "plugins": confs})
			if err != nil {
				b.Fatal(err)
			}
			g := New(Options{Catalog: catalog, Shared: &plugins.Shared{}, Mode: router.HostURI, Grace: time.Millisecond})
			defer g.Close()
			g.take(nil, configcenter.Batch{Rev: 1, Full: true, Changes: []configcenter.Change{
				{Kind: resource.Routes, ID: "1", Create: 1, Mod: 1, Value: text}}})
			x := &wire.Exchange{Context: context.Background(), Sender: &sink{}}
			b.ReportAllocs()
			for b.Loop() {
				h := x.Req.Header
				h.Reset()
				x.Req = wire.Request{Method: "GET", Target: "/hello", Host: "foo.com", Major: 1, Minor: 1, Header: h,
					Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Local: netip.MustParseAddrPort("127.0.0.1:9080")}
				g.Serve(x)
			}
			if s := x.Sender.(*sink).status; s != 200 {
				b.Fatal(s)
			}
		})
	}
}
