package proxycache

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// gateway is an environment with zones m and d, and a clock that tests move.
type gateway struct {
	env  *plugins.Env
	nano atomic.Int64
}

func (g *gateway) now() time.Time { return time.Unix(0, g.nano.Load()).UTC() }

// pass lets time go by.
func (g *gateway) pass(d time.Duration) { g.nano.Add(int64(d)) }

func newGateway(t testing.TB) *gateway {
	g := &gateway{env: plugintest.Env()}
	g.nano.Store(time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	attr, err := json.Marshal(map[string]any{"proxy_cache": map[string]any{"cache_ttl": 10, "zones": []zone{
		{Name: "m", Memory: 1 << 20},
		{Name: "d", Memory: 1 << 20, Disk: 10 << 20, Path: t.TempDir(), Levels: "1:2"},
		{Name: "bad", Memory: 1 << 20, Disk: 10 << 20, Path: "x", Levels: "7"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	g.env.Attr, g.env.Now = attr, g.now
	return g
}

// build makes an instance on one of the zones; more is put into its configuration.
func (g *gateway) build(t testing.TB, zone, more string) *plugins.Phases {
	strategy := map[string]string{"m": "memory", "d": "disk"}[zone]
	p := plugintest.Build(t, &Plugin, g.env, `{"cache_zone":"`+zone+`","cache_strategy":"`+strategy+`"`+more+`}`)
	return &p
}

// answer is what an upstream answers.
type answer struct {
	status int
	fields []string
	body   string
}

func ok(body string, fields ...string) *answer { return &answer{200, fields, body} }

// got is what the client gets.
type got struct {
	state   string // Apisix-Cache-Status
	status  int
	body    string
	header  wire.Header
	passed  *wire.Header // of the request as the upstream saw it; nil when it was not asked
	control *plugins.Ctx
}

// do walks with c as the gateway does. up is the upstream's answer.
func do(t testing.TB, p *plugins.Phases, c *plugins.Ctx, up *answer) *got {
	t.Helper()
	g := &got{control: c}
	var rep *plugins.Reply
	for _, phase := range []func(*plugins.Ctx) (*plugins.Reply, error){p.Access, p.BeforeProxy} {
		if phase == nil || rep != nil {
			continue
		}
		var err error
		if rep, err = phase(c); err != nil {
			t.Fatal(err)
		}
	}
	if rep != nil {
		c.ReplySource = "apisix"
		r := plugintest.Respond(c, rep.Status)
		for name, value := range rep.Header.All() {
			r.Header.Add(name, value)
		}
		if body, stored := rep.Body.(*plugins.Content); stored {
			if r.Body, r.ContentLength = body.Stream, body.Length; r.Body == nil {
				r.Body, r.ContentLength = wire.Bytes(body.Bytes), int64(len(body.Bytes))
			}
		}
	} else {
		if up == nil {
			t.Fatalf("the upstream is asked for %s", c.Req.Target)
		}
		c.ReplySource = "upstream"
		g.passed = new(wire.Header)
		for name, value := range c.Req.Header.All() {
			g.passed.Add(name, value)
		}
		r := plugintest.Respond(c, up.status, up.fields...)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(up.body)), int64(len(up.body))
		if c.Req.Method == "HEAD" && c.UpstreamMethod == "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), -1
		}
		if err := p.Received(c); err != nil {
			t.Fatal(err)
		}
	}
	own := &c.RespHeader
	for name, value := range own.All() {
		c.Resp.Header.Set(name, value)
	}
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	r := c.Resp
	g.status, g.header, g.state = r.Status, r.Header, r.Header.Get("Apisix-Cache-Status")
	if r.Body != nil {
		if bare := c.Req.Method == "HEAD" || r.Status == 304; !bare {
			b, err := io.ReadAll(r.Body)
			if err != nil || int64(len(b)) != r.ContentLength {
				t.Fatalf("%d of %d bytes, %v", len(b), r.ContentLength, err)
			}
			g.body = string(b)
		}
		if err := r.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func get(fields ...string) *plugins.Ctx { return plugintest.Request("GET", "/a?b=c", fields...) }

func (g *got) want(t testing.TB, what, state string, status int, body string) {
	t.Helper()
	if g.state != state || g.status != status || g.body != body {
		t.Errorf("%s: %s %d %q, want %s %d %q", what, g.state, g.status, g.body, state, status, body)
	}
}

func TestBuild(t *testing.T) {
	for conf, want := range map[string]string{
		`{"cache_zone":"x"}`:                              "cache_zone x not found",
		`{"cache_zone":"m"}`:                              "invalid or empty cache_zone for cache_strategy: disk",
		`{"cache_zone":"d","cache_strategy":"memory"}`:    "invalid or empty cache_zone for cache_strategy: memory",
		`{"cache_zone":"bad"}`:                            "cache_zone bad: cache_levels \"7\": want one to three numbers of 1 or 2, such as 1:2",
		`{"cache_key":["$uri","$request_method"]}`:        "cache_key variable $request_method unsupported",
		`{"cache_zone":"d"}`:                              "",
		`{"cache_zone":"m","cache_strategy":"memory"}`:    "",
		`{"cache_zone":"m","cache_strategy":"network"}`:   "matches none of the enum values",
		`{"cache_zone":"d","cache_key":["$uri-","-id"]}`:  "failed to match pattern",
		`{"cache_zone":"d","cache_http_status":[99]}`:     "expected 99",
		`{"cache_zone":"d","cache_method":["GET","PUT"]}`: "matches none of the enum values",
	} {
		for _, check := range []bool{true, false} {
			g := newGateway(t)
			g.env.Check = check
			p, err := plugintest.Try(&Plugin, g.env, conf)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v", conf, err)
			}
			if p.Close != nil {
				p.Close()
			}
			if n := g.env.Shared.Len(); n != 0 {
				t.Errorf("%s: %d shared values are left", conf, n)
			}
		}
	}
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"cache_zone":"any"}`) // nothing is known of zones
	do(t, &p, get(), ok("a")).want(t, "without zones", "", 200, "a")
}

// TestWalk is what both strategies have in common.
func TestWalk(t *testing.T) {
	for _, z := range []string{"m", "d"} {
		g := newGateway(t)
		p := g.build(t, z, `,"cache_bypass":["$arg_bypass"],"no_cache":["$http_x_no"],"cache_ttl":10,"cache_key":["$host","$uri"]`)
		do(t, p, get("X-No: 1"), ok("a")).want(t, "no_cache", "MISS", 200, "a")
		do(t, p, get("X-No: 0"), ok("b", "X-Field: 1", "Age: 5", "Server: x", "X-RateLimit-Remaining: 3", "Cache-Control: max-age=10", "Expires: x")).
			want(t, "first", "MISS", 200, "b")
		g.pass(2 * time.Second)
		hit := do(t, p, get(), nil)
		hit.want(t, "second", "HIT", 200, "b")
		if h := &hit.header; h.Get("X-Field") != "1" || h.Get("Age") != "7" || h.Has("Server") || h.Has("X-RateLimit-Remaining") || h.Get("Expires") != "x" {
			t.Errorf("%v", h)
		}
		do(t, p, plugintest.Request("HEAD", "/a"), nil).want(t, "HEAD", "HIT", 200, "")
		do(t, p, plugintest.Request("GET", "/a?bypass=0"), nil).want(t, "bypass=0", "HIT", 200, "b")
		do(t, p, plugintest.Request("GET", "/a?bypass=1"), ok("c")).want(t, "bypass", "BYPASS", 200, "c")
		// nginx keeps what it got past the cache, the memory strategy does not.
		do(t, p, get(), nil).want(t, "after a bypass", "HIT", 200, map[string]string{"m": "b", "d": "c"}[z])
		if state := do(t, p, plugintest.Request("POST", "/a"), ok("d")).state; state != map[string]string{"m": "MISS", "d": "BYPASS"}[z] {
			t.Errorf("%s: other method: %s", z, state)
		}
		if up := do(t, p, func() *plugins.Ctx { c := get(); c.Req.Upgrade = "websocket"; return c }(), ok("e")); up.state != "" || up.passed == nil {
			t.Errorf("%s: upgrade: %+v", z, up)
		}
		g.pass(10 * time.Second)
		do(t, p, get(), ok("f")).want(t, "later", "EXPIRED", 200, "f")
		do(t, p, get(), nil).want(t, "renewed", "HIT", 200, "f")
		for _, want := range []int{200, 404} {
			do(t, p, plugintest.Request("PURGE", "/a"), nil).want(t, "PURGE", "", want, "")
		}
		do(t, p, get(), &answer{500, nil, "x"}).want(t, "status", "MISS", 500, "x")
		do(t, p, get(), &answer{404, nil, "none"}).want(t, "status", "MISS", 404, "none")
		do(t, p, get(), nil).want(t, "status", "HIT", 404, "none")
		hidden := g.build(t, z, `,"hide_cache_headers":true,"cache_key":["$host","$uri"]`)
		do(t, p, plugintest.Request("PURGE", "/a"), nil)
		do(t, p, get(), ok("g", "Cache-Control: max-age=9", "Expires: x", "ETag: y"))
		for _, c := range []*plugins.Ctx{get(), plugintest.Request("GET", "/other")} {
			r := do(t, hidden, c, ok("g", "Cache-Control: max-age=9", "Expires: x", "ETag: y"))
			if h := &r.header; h.Has("Cache-Control") || h.Has("Expires") || h.Get("ETag") != "y" {
				t.Errorf("%s, hidden: %v", r.state, h)
			}
		}
		c := get() // what another plugin answers
		plugintest.Respond(c, 200)
		if err := p.HeaderFilter(c); err != nil || c.Resp.Header.Len() != 0 {
			t.Errorf("%v, %v", err, c.Resp.Header)
		}
	}
}

// TestRequestControl: Cache-Control of requests, where it is followed.
func TestRequestControl(t *testing.T) {
	g := newGateway(t)
	p := g.build(t, "m", `,"cache_control":true`)
	do(t, p, get("Cache-Control: only-if-cached"), nil).want(t, "nothing there", "MISS", 504, "")
	do(t, p, get(), ok("no time given")).want(t, "", "MISS", 200, "no time given")
	do(t, p, get(), ok("no time", "Cache-Control: max-age=0")).want(t, "", "MISS", 200, "no time")
	do(t, p, get(), ok("shared", "Cache-Control: s-maxage=60, max-age=0")).want(t, "", "MISS", 200, "shared")
	g.pass(20 * time.Second)
	for control, state := range map[string]string{
		"max-age=20": "HIT", "max-age=19": "STALE", "min-fresh=40": "HIT", "min-fresh=41": "STALE", "only-if-cached": "HIT",
		"no-store": "BYPASS", "no-cache": "BYPASS", "max-stale": "HIT", "max-stale=5": "HIT", "x": "HIT",
	} {
		up := &answer{500, nil, "shared"}
		status := map[bool]int{true: 200, false: 500}[state == "HIT"]
		do(t, p, get("Cache-Control: "+control), up).want(t, control, state, status, "shared")
	}
	g.pass(40 * time.Second)
	do(t, p, get("Cache-Control: max-stale=100, only-if-cached"), nil).want(t, "past its time", "EXPIRED", 504, "")
	plain := g.build(t, "m", ``)
	do(t, plain, get("Cache-Control: no-store"), ok("x", "Cache-Control: max-age=0")).want(t, "not followed", "EXPIRED", 200, "x")
	g.pass(299 * time.Second)
	do(t, plain, get("Cache-Control: no-store, max-age=1"), nil).want(t, "not followed", "HIT", 200, "x")
}

// TestDiskTime: on disk the response says how long it is good for.
func TestDiskTime(t *testing.T) {
	g := newGateway(t)
	p := g.build(t, "d", ``)
	for i, c := range []struct {
		field   string
		seconds int // 0: not kept
	}{
		{"X: y", 10}, {"Cache-Control: max-age=20", 20}, {"Cache-Control: max-age=20, s-maxage=5", 5}, {"Cache-Control: max-age=0", 0},
		{"Expires: Wed, 01 May 2024 12:00:30 GMT", 30}, {"Expires: Wed, 01 May 2024 11:00:30 GMT", 0}, {"Expires: 0", 0},
		{"X-Accel-Expires: 7", 7}, {"X-Accel-Expires: 0", 0}, {"X-Accel-Expires: @" + strconv.FormatInt(g.now().Unix()+9, 10), 9},
		{"X-Accel-Expires: x", 10}, {"X-Accel-Expires: -5", 0}, {"X-Accel-Expires: @1", 0},
		{"X-Accel-Expires: @4102444800", 10 * 365 * 24 * 3600}, {"X-Accel-Expires: 9999999999", 10 * 365 * 24 * 3600}, {"Cache-Control: private", 0}, {"Cache-Control: no-store", 0}, {"Cache-Control: no-cache", 0},
		{"Set-Cookie: a=b", 0}, {"Vary: *", 0}, {"Vary: Accept", 10},
	} {
		at := func() *plugins.Ctx { return plugintest.Request("GET", "/"+strconv.Itoa(i)) }
		do(t, p, at(), ok("x", c.field))
		if c.seconds == 0 {
			do(t, p, at(), ok("y")).want(t, c.field, "MISS", 200, "y")
			continue
		}
		start := g.nano.Load()
		g.pass(time.Duration(c.seconds)*time.Second - 1)
		do(t, p, at(), nil).want(t, c.field, "HIT", 200, "x")
		g.pass(1)
		do(t, p, at(), ok("y")).want(t, c.field, "EXPIRED", 200, "y")
		g.nano.Store(start)
	}
	p = g.build(t, "d", `,"cache_set_cookie":true`) // memory only
	do(t, p, plugintest.Request("GET", "/cookie"), ok("x", "Set-Cookie: a=b"))
	do(t, p, plugintest.Request("GET", "/cookie"), ok("y")).want(t, "cache_set_cookie", "MISS", 200, "y")
}

// TestWhole: on disk an upstream is asked for the whole response, and clients
// get the part that they asked for.
func TestWhole(t *testing.T) {
	g := newGateway(t)
	p := g.build(t, "d", `,"cache_key":["$uri"]`)
	up := ok("0123456789", `ETag: "v1"`, "Accept-Ranges: bytes", "Content-Type: text/x")
	check := func(state string) {
		t.Helper()
		for i, c := range []struct {
			method, field string
			status        int
			body, rng     string
		}{
			{"HEAD", "X: y", 200, "", ""},
			{"GET", `If-None-Match: "v1"`, 304, "", ""},
			{"GET", `If-None-Match: "v2"`, 200, "0123456789", ""},
			{"GET", `If-Match: "v2"`, 412, "", ""},
			{"GET", "Range: bytes=2-4", 206, "234", "bytes 2-4/10"},
			{"GET", "Range: bytes=10-", 416, "", "bytes */10"},
		} {
			at := "/" + strconv.Itoa(i)
			r := do(t, p, plugintest.Request(c.method, at, c.field, "X-Other: 1"), up)
			r.want(t, c.field, state, c.status, c.body)
			if h := &r.header; h.Get("Content-Range") != c.rng || h.Get("ETag") != `"v1"` || h.Has("Content-Type") != (c.status < 300) {
				t.Errorf("%s: %v", c.field, h)
			}
			name, value, _ := strings.Cut(c.field, ": ")
			if h := r.passed; h != nil && (h.Get("X-Other") != "1" || h.Has(name) && name != "X" || c.method == "HEAD" && r.control.UpstreamMethod != "GET") {
				t.Errorf("%s %s: the upstream saw %v", c.method, c.field, h)
			}
			if r.control.Req.Header.Get(name) != value || r.control.Req.Method != c.method {
				t.Errorf("%s: the request was changed for those who come later", c.field)
			}
			do(t, p, plugintest.Request("GET", at), nil).want(t, "whole after "+c.field, "HIT", 200, "0123456789")
		}
	}
	check("MISS")
	check("HIT")
	do(t, p, plugintest.Request("GET", "/p", `If-None-Match: "v1"`), ok("x", "Cache-Control: private", `ETag: "v1"`)).
		want(t, "what is not kept comes as it is", "MISS", 200, "x")
	c := plugintest.Request("GET", "/f", "Range: bytes=1-2") // the upstream fails
	for _, phase := range []func(*plugins.Ctx) (*plugins.Reply, error){p.Access, p.BeforeProxy, p.BeforeProxy} {
		if rep, err := phase(c); rep != nil || err != nil {
			t.Fatal(rep, err)
		}
	}
	c.ReplySource = "nginx"
	plugintest.Respond(c, 502)
	if err := p.HeaderFilter(c); err != nil || c.Req.Header.Get("Range") == "" || c.Resp.Header.Get("Apisix-Cache-Status") != "MISS" {
		t.Errorf("%v, %v, %v", err, c.Req.Header, c.Resp.Header)
	}
}

// TestPluginAnswers: in memory, what a plugin answers in an upstream's place is
// kept, without what others put there; what the gateway says of a failure is not.
func TestPluginAnswers(t *testing.T) {
	p := newGateway(t).build(t, "m", `,"cache_http_status":[200,502]`)
	reply := func(source string, status int, fields ...string) *plugins.Ctx {
		c := get()
		c.RespHeader.Add("X-Request-Id", "1")
		if rep, err := p.Access(c); rep != nil || err != nil {
			t.Fatal(rep, err)
		}
		c.ReplySource = source
		r := plugintest.Respond(c, status, append(fields, "X-Request-Id: 1", "X-Own: 1")...)
		r.Body, r.ContentLength = wire.Bytes([]byte("made")), 4
		if err := p.HeaderFilter(c); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return c
	}
	reply("nginx", 502)
	reply("apisix", 200, "Set-Cookie: poisoned=1")
	reply("apisix", 200)
	r := do(t, p, get(), nil)
	r.want(t, "a plugin's answer", "HIT", 200, "made")
	if r.header.Has("X-Request-Id") || r.header.Get("X-Own") != "1" {
		t.Errorf("%v", r.header)
	}
}

// TestShared: a zone is the same for all who name it and lives as long as one does.
func TestShared(t *testing.T) {
	g := newGateway(t)
	a, b := g.build(t, "m", ``), g.build(t, "m", `,"cache_ttl":5`)
	other := *g.env
	other.Key, other.Owner = "routes/2/proxy-cache/0", "routes/2"
	do(t, a, get(), ok("x"))
	do(t, b, get(), nil).want(t, "another instance", "HIT", 200, "x")
	a.Close()
	do(t, b, get(), nil).want(t, "after one was closed", "HIT", 200, "x")
	b.Close()
	if n := g.env.Shared.Len(); n != 0 {
		t.Errorf("%d shared values are left", n)
	}
}

func TestMethods(t *testing.T) {
	if !slices.Equal([]byte{classOf("GET"), classOf("HEAD"), classOf("POST")}, []byte{plain, plain, posted}) {
		t.Error("classes")
	}
}

func BenchmarkHit(b *testing.B) {
	for _, z := range []string{"m", "d"} {
		for _, name := range []string{"", "/isolated"} {
			b.Run(z+name, func(b *testing.B) {
				p := newGateway(b).build(b, z, `,"cache_key":["$host","$request_uri"]`)
				up := ok(strings.Repeat("x", 1024), "Content-Type: text/plain", "ETag: x", "Cache-Control: max-age=100", "Date: x")
				set := func(c *plugins.Ctx) *plugins.Ctx {
					if name != "" {
						c.Consumer = plugintest.Consumer("alice", "", nil)
					}
					return c
				}
				do(b, p, set(get()), up)
				c := set(get("Accept: */*", "User-Agent: x"))
				b.ReportAllocs()
				for b.Loop() {
					rep, err := p.Access(c)
					if z == "d" {
						rep, err = p.BeforeProxy(c)
					}
					if err != nil || rep == nil {
						b.Fatal("no hit", err)
					}
					c.RespHeader.Reset()
				}
			})
		}
	}
}

func BenchmarkMiss(b *testing.B) {
	p := newGateway(b).build(b, "m", `,"no_cache":["1x"]`)
	c := get("Accept: */*", "User-Agent: x")
	plugintest.Respond(c, 200, "Content-Type: text/plain")
	b.ReportAllocs()
	for b.Loop() {
		if rep, err := p.Access(c); rep != nil || err != nil {
			b.Fatal(rep, err)
		}
		if err := p.Received(c); err != nil {
			b.Fatal(err)
		}
		if err := p.HeaderFilter(c); err != nil {
			b.Fatal(err)
		}
		c.RespHeader.Reset()
	}
}
