package all

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/memory"
	"sluice/configcenter/resource"
	"sluice/gateway"
	"sluice/gateway/lua"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router"
)

// measured are the plugins whose cost is measured, each with a configuration
// under which it lets the request through. body is a request's body. What calls
// a service does so at $SERVICE.
var measured = []struct {
	name, conf string
	header     []string
	body       string
	calls      bool
}{
	{name: "api-breaker", conf: `{"break_response_code":502,"unhealthy":{"http_statuses":[500],"failures":3}}`},
	{name: "attach-consumer-label", conf: `{"headers":{"X-Department":"$department"}}`},
	{name: "basic-auth", conf: `{}`, header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("jack:pass"))}},
	{name: "brotli", conf: `{"types":["text/html"]}`},
	{name: "client-control", conf: `{"max_body_size":1048576}`},
	{name: "consumer-restriction", conf: `{"type":"route_id","whitelist":["1","2"],"_meta":{"filter":[["http_none","==","x"]]}}`},
	{name: "cors", conf: `{"allow_origins":"https://a.example,https://b.example"}`, header: []string{"Origin", "https://a.example"}},
	{name: "csrf", conf: `{"key":"a secret of this route"}`},
	{name: "echo", conf: `{"before_body":"","headers":{"X-A":"1"}}`},
	{name: "file-logger", conf: `{"path":"/dev/null"}`},
	{name: "fault-injection", conf: `{"abort":{"http_status":503,"percentage":0}}`},
	{name: "forward-auth", conf: `{"uri":"http://$SERVICE/auth","request_headers":["Accept"]}`, calls: true},
	{name: "gzip", conf: `{"types":["text/html"]}`},
	{name: "hmac-auth", conf: `{"clock_skew":1000000000}`, header: signed("jack-id", "secret", "Sun, 22 Nov 2026 00:00:00 GMT")},
	{name: "ip-restriction", conf: `{"whitelist":["10.0.0.0/8","127.0.0.0/8"]}`},
	{name: "jwt-auth", conf: `{}`, header: []string{"Authorization", bearer("jack-key", "secret")}},
	{name: "key-auth", conf: `{}`, header: []string{"apikey", "jack-key"}},
	{name: "limit-conn", conf: `{"conn":1000,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"}`},
	{name: "limit-count", conf: `{"count":1000000000,"time_window":60}`},
	{name: "limit-req", conf: `{"rate":1000000000,"burst":1000000,"key":"remote_addr"}`},
	{name: "multi-auth", conf: `{"auth_plugins":[{"basic-auth":{}},{"key-auth":{}}]}`, header: []string{"apikey", "jack-key"}},
	{name: "opentelemetry", conf: `{"sampler":{"name":"always_off"}}`},
	{name: "prometheus", conf: `{}`},
	{name: "proxy-mirror", conf: `{"host":"http://$SERVICE"}`, calls: true},
	{name: "proxy-rewrite", conf: `{"uri":"/other","headers":{"set":{"X-A":"1"}}}`},
	{name: "real-ip", conf: `{"source":"http_x_forwarded_for","trusted_addresses":["127.0.0.0/8"]}`, header: []string{"X-Forwarded-For", "10.1.2.3"}},
	{name: "redirect", conf: `{"regex_uri":["^/test/(.*)$","/new/$1"]}`},
	{name: "referer-restriction", conf: `{"whitelist":["a.example","*.b.example"]}`, header: []string{"Referer", "http://x.b.example/y"}},
	{name: "request-id", conf: `{}`},
	{name: "request-validation", conf: `{"body_schema":{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}}}`,
		header: []string{"Content-Type", "application/json"}, body: `{"name":"jack"}`},
	{name: "response-rewrite", conf: `{"headers":{"set":{"X-A":"1"}}}`},
	{name: "serverless-pre-function", conf: `{"phase":"access","functions":["return function(conf, ctx) ngx.req.set_header('X-A', '1') end"]}`},
	{name: "traffic-split", conf: `{"rules":[{"weighted_upstreams":[{"weight":1}]}]}`},
	{name: "ua-restriction", conf: `{"denylist":["curl.*","bot"]}`},
	{name: "uri-blocker", conf: `{"block_rules":["root.exe","root.m+"]}`},
	{name: "workflow", conf: `{"rules":[{"case":[["uri","==","/none"]],"actions":[["return",{"code":403}]]}]}`},
	{name: "zipkin", conf: `{"endpoint":"http://127.0.0.1:1/spans","sample_ratio":0.00001}`},
}

func signed(id, key, date string) []string {
	m := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(m, "%s\nGET /hello\ndate: %s\n", id, date)
	return []string{"Date", date, "Authorization", fmt.Sprintf(`Signature keyId="%s",algorithm="hmac-sha256",headers="@request-target date",signature="%s"`,
		id, base64.StdEncoding.EncodeToString(m.Sum(nil)))}
}

func bearer(key, secret string) string {
	b := base64.RawURLEncoding
	text := b.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b.EncodeToString([]byte(`{"key":"`+key+`","exp":4000000000}`))
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return text + "." + b.EncodeToString(m.Sum(nil))
}

// nowhere takes answers; the body passes the filters.
type nowhere struct{ status int }

func (s *nowhere) Send(r *wire.Response, filter wire.BodyFilter) (wire.Sent, error) {
	s.status = r.Status
	if filter != nil {
		if _, err := filter(r.Body.(interface{ Bytes() []byte }).Bytes(), true); err != nil {
			return wire.Sent{}, err
		}
	}
	return wire.Sent{Total: 200, Body: 12}, r.Body.Close()
}
func (*nowhere) Inform(int, *wire.Header) error { return nil }
func (*nowhere) Tunnel(*wire.Response, io.ReadWriteCloser) (wire.Sent, error) {
	return wire.Sent{}, nil
}

// walker sends requests through a gateway without a network.
type walker struct {
	g      *gateway.Gateway
	x      wire.Exchange
	to     nowhere
	target string
	header []string
	body   string
	r      strings.Reader
}

func (w *walker) walk() {
	h := w.x.Req.Header
	h.Reset()
	h.Add("User-Agent", "bench")
	h.Add("Accept", "*/*")
	for i := 0; i < len(w.header); i += 2 {
		h.Add(w.header[i], w.header[i+1])
	}
	w.r.Reset(w.body)
	w.x.Req = wire.Request{Method: "GET", Target: w.target, Host: "foo.com", Major: 1, Minor: 1, Header: h,
		Body: &w.r, ContentLength: int64(len(w.body)),
		Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Local: netip.MustParseAddrPort("127.0.0.1:9080")}
	w.g.Serve(&w.x)
}

// service answers every request with 200, with as little work as can be, so that
// next to nothing of it is in the figures.
type service struct {
	net.Listener
	answered chan struct{}
	work     sync.WaitGroup
}

func serve(b *testing.B) *service {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &service{Listener: l, answered: make(chan struct{}, 4096)}
	s.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.work.Go(func() { s.answer(c) })
		}
	})
	return s
}

func (s *service) answer(c net.Conn) {
	defer c.Close()
	in, ok := bufio.NewReader(c), []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) > len("\r\n") {
			continue
		}
		if _, err := c.Write(ok); err != nil {
			return
		}
		s.answered <- struct{}{}
	}
}

// await waits for the answers to n requests.
func (s *service) await(b *testing.B, n int) {
	for range n {
		select {
		case <-s.answered:
		case <-time.After(patience):
			b.Fatal("the service was not called")
		}
	}
}

// open makes a gateway with two routes: /plain, and /hello with the plugin.
// Both have a consumer and are answered by a plugin at the end, the moment before
// an upstream would be called, so that none is in the figures.
func open(b *testing.B, name, conf string) (g *gateway.Gateway, stop func()) {
	reg, shared := Registry(), &plugins.Shared{}
	ok := &plugins.Reply{Status: 200, Body: []byte("hello world\n")}
	reg["answer"] = &plugins.Spec{Name: "answer", Priority: -10000, Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{
				Access: func(c *plugins.Ctx) (*plugins.Reply, error) {
					c.Consumer = c.Find().ConsumerNamed("jack")
					return nil, nil
				},
				BeforeProxy: func(*plugins.Ctx) (*plugins.Reply, error) { return ok, nil },
			}, nil
		})}
	var names []string
	for n := range reg {
		names = append(names, n)
	}
	catalog, _, err := plugins.NewCatalog(reg, names)
	if err != nil {
		b.Fatal(err)
	}
	host, release := lua.Share(shared, lua.Options{})
	g = gateway.New(gateway.Options{Catalog: catalog, Shared: shared, Mode: router.HostURI, Lua: host,
		ServerHeader: "APISIX/3.18.0", Charset: "utf-8", Grace: time.Millisecond})
	center := memory.New("/apisix")
	const upstream = `"upstream":{"nodes":{"127.0.0.1:1":1}}`
	var items []configcenter.Change
	for kind, all := range map[resource.Kind]map[string]string{
		resource.Routes: {"plain": `{"uri":"/plain",` + upstream + `,"plugins":{"answer":{}}}`,
			"1": `{"uri":"/hello",` + upstream + `,"plugins":{"answer":{},"` + name + `":` + conf + `}}`},
		resource.Consumers: {"jack": `{"username":"jack","labels":{"department":"x"},"plugins":{"key-auth":{"key":"jack-key"},"basic-auth":{"username":"jack","password":"pass"},
			"jwt-auth":{"key":"jack-key","secret":"secret"},"hmac-auth":{"key_id":"jack-id","secret_key":"secret"}}}`}} {
		for id, text := range all {
			items = append(items, configcenter.Change{Kind: kind, ID: id, Value: []byte(text), Create: 1, Mod: 1})
		}
	}
	rev := center.Replace(items)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.Follow(ctx, center) }()
	<-g.Live(rev)
	for _, p := range g.Problems() {
		b.Fatal(p.ID, p.Err)
	}
	return g, func() { cancel(); <-done; g.Close(); release(); shared.Close() }
}

// BenchmarkPlugin measures what each plugin adds to a request's walk: batches of
// the plain walk and of the one with the plugin take turns, and the median of
// the differences between neighbours is reported. What disturbs the machine
// disturbs both, or one batch that the median leaves out.
func BenchmarkPlugin(b *testing.B) {
	for _, m := range measured {
		b.Run(m.name, func(b *testing.B) {
			s := serve(b)
			g, stop := open(b, m.name, strings.ReplaceAll(m.conf, "$SERVICE", s.Addr().String()))
			defer func() { stop(); s.Close(); s.work.Wait() }()
			plain := &walker{g: g, target: "/plain", header: m.header, body: m.body}
			with := &walker{g: g, target: "/hello", header: m.header, body: m.body}
			plain.x.Context, plain.x.Sender = context.Background(), &plain.to
			with.x.Context, with.x.Sender = context.Background(), &with.to
			const batch = 50
			took := func(w *walker) time.Duration {
				start := time.Now()
				for range batch {
					w.walk()
				}
				return time.Since(start)
			}
			var added []time.Duration
			b.ResetTimer()
			for n := 0; n < b.N || n < 4*batch; n += batch {
				longer := took(with)
				if m.calls {
					s.await(b, batch)
				}
				added = append(added, longer-took(plain))
			}
			b.StopTimer()
			if with.to.status != 200 || plain.to.status != 200 {
				b.Fatalf("status %d, plain %d", with.to.status, plain.to.status)
			}
			slices.Sort(added)
			b.ReportMetric(float64(added[len(added)/2].Nanoseconds())/batch, "added-ns")
			b.ReportMetric(testing.AllocsPerRun(200, with.walk)-testing.AllocsPerRun(200, plain.walk), "added-allocs")
		})
	}
}
