package proxymirror

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server tells what it got: method, uri, host, a field, body.
func server(t *testing.T) (string, chan string) {
	got := make(chan string, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- strings.Join([]string{r.Method, r.RequestURI, r.Host, r.Header.Get("X-A"), r.Header.Get("User-Agent"), string(body)}, " ")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), got
}

func walk(t *testing.T, p *plugins.Phases, c *plugins.Ctx, change func()) {
	t.Helper()
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if change != nil {
		change()
	}
	for range 2 { // a second try sends nothing more
		if r, err := p.BeforeProxy(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
	}
}

func TestCopy(t *testing.T) {
	addr, got := server(t)
	for _, x := range []struct{ name, scheme, conf, want string }{
		{"plain", "http", ``, "POST /hello%20x?a=1 example.com b ua text"},
		{"replaced", "http", `,"path":"/a"`, "POST /a?a=1 example.com b ua text"},
		{"prefixed", "http", `,"path":"/a","path_concat_mode":"prefix"`, "POST /a/hello%20x?a=1 example.com b ua text"},
		{"grpc", "grpc", ``, "POST /hello%20x%3F50%25 example.com b ua text"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"host":"`+x.scheme+`://`+addr+`"`+x.conf+`}`)
			c := plugintest.Request("POST", "/hello%20x?a=1", "X-A: b", "User-Agent: ua", "Content-Length: 4")
			c.Req.Body, c.Req.ContentLength = strings.NewReader("text"), 4
			walk(t, &p, c, func() { c.UpstreamURI, c.Path = "/rewritten", "/hello x?50%" })
			if s := <-got; s != x.want {
				t.Errorf("%q", s)
			}
			if b, err := c.Body(0); err != nil || string(b) != "text" {
				t.Error("the upstream would get", string(b), err)
			}
		})
	}
	if len(got) != 0 {
		t.Error("more copies than requests:", len(got))
	}
}

func TestSample(t *testing.T) {
	m := &mirror{config: config{Sample: 0.5}}
	sampled := 0
	for range 10000 {
		c := plugintest.Request("GET", "/")
		if _, err := m.rewrite(c); err != nil {
			t.Fatal(err)
		}
		if c.Value(m) != nil {
			sampled++
		}
	}
	if sampled < 4000 || sampled > 6000 {
		t.Errorf("%d of 10000", sampled)
	}
}

// TestBounds: too much at a time is dropped, and closing ends what hangs.
func TestBounds(t *testing.T) {
	entered := make(chan struct{}, 2*maxCalls)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	defer s.Close()
	env := plugintest.Env()
	p, err := plugintest.Try(&Plugin, env, `{"host":"`+s.URL+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	for range maxCalls + 50 {
		walk(t, &p, plugintest.Request("GET", "/"), nil)
	}
	<-entered
	p.Close()
	if env.Shared.Len() != 0 {
		t.Error("the sender is left")
	}
	if n := len(entered) + 1; n > maxCalls {
		t.Errorf("%d calls at a time", n)
	}
}

// TestTooLong: what is too long is not sent, and told.
func TestTooLong(t *testing.T) {
	addr, got := server(t)
	var log strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	p, err := plugintest.Try(&Plugin, env, `{"host":"http://`+addr+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int64{maxBody + 1, 1} {
		c := plugintest.Request("POST", "/")
		c.Req.Body, c.Req.ContentLength = strings.NewReader("x"), length
		walk(t, &p, c, nil)
	}
	<-got // the one that fits
	p.Close()
	if len(got) != 0 || !strings.Contains(log.String(), "body too long") {
		t.Errorf("%d more were sent, log %s", len(got), &log)
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                                                `property "host" is required`,
		`{"host":"127.0.0.1:1999"}`:                         "failed to match pattern",
		`{"host":"http://127.0.0.1:1999/"}`:                 "failed to match pattern",
		`{"host":"http://127.0.0.1","path":"a"}`:            "failed to match pattern",
		`{"host":"http://127.0.0.1","path":"/a?b=1"}`:       "failed to match pattern",
		`{"host":"http://127.0.0.1","sample_ratio":2}`:      "expected 2 to be at most 1",
		`{"host":"http://127.0.0.1","path_concat_mode":""}`: "matches none of the enum values",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
	env := plugintest.Env()
	for attr, good := range map[string]bool{`{"timeout":{"connect":"2000ms","read":"2s","send":2}}`: true, `{"timeout":{"read":"x"}}`: false} {
		env.Attr = []byte(attr)
		p, err := plugintest.Try(&Plugin, env, `{"host":"http://127.0.0.1"}`)
		if (err == nil) != good {
			t.Errorf("%s: %v", attr, err)
		}
		if err == nil {
			p.Close()
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"host":"http://127.0.0.1:1"}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
