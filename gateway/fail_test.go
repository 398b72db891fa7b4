package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/memory"
	"sluice/configcenter/resource"
	"sluice/configcenter/secret"
	"sluice/gateway"
	"sluice/plugins"
	"sluice/router"
)

// failsAt is a plugin that fails in the body filter at the nth piece.
func failsAt(n int) plugins.Registry {
	return plugins.Registry{"bad": {Name: "bad", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			type count struct{ n int }
			return plugins.Phases{
				HeaderFilter: func(c *plugins.Ctx) error {
					c.SetValue("count", &count{})
					c.Resp.ContentLength = -1
					return nil
				},
				BodyFilter: func(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
					k := c.Value("count").(*count)
					if k.n++; k.n == n {
						panic("broken")
					}
					return bytes.ToUpper(piece), nil
				}}, nil
		})}}
}

// TestBodyFilterFails: what the client gets is the whole answer, a 500, or
// visibly cut short; never something that looks whole and is not.
func TestBodyFilterFails(t *testing.T) {
	b := start(t, failsAt(1))
	b.put(resource.Routes, "1", `{"uri":"/x","upstream":{"nodes":{"`+echo(t)+`":1}},"plugins":{"bad":{}}}`)
	if status, body, _ := b.get("/x"); status != 500 || !strings.Contains(body, "500 Internal") {
		t.Errorf("nothing had gone out: %d %q", status, body)
	}
	big := strings.Repeat("x", 1<<20)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, big) }))
	defer large.Close()
	for _, mode := range []string{"open", "closed"} {
		for _, at := range []int{1, 3} {
			b := start(t, failsAt(at))
			b.put(resource.Routes, "1", `{"uri":"/x","upstream":{"nodes":{"`+large.Listener.Addr().String()+`":1}},
				"plugins":{"bad":{"_meta":{"fail_mode":"`+mode+`"}}}}`)
			res, err := http.Get("http://" + b.addr + "/x")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			switch {
			case at == 3 && (err == nil || res.StatusCode != 200 || len(body) >= len(big)):
				t.Errorf("%s, failed in the middle: %d, %d bytes, %v", mode, res.StatusCode, len(body), err)
			case at == 1 && mode == "open" && (err != nil || res.StatusCode != 200 || string(body) != big):
				t.Errorf("%s, failed at the start: %d, %d bytes, %v", mode, res.StatusCode, len(body), err)
			case at == 1 && mode == "closed" && err == nil && res.StatusCode != 500: // cut, if the head was on its way
				t.Errorf("%s, failed at the start: %d, %d bytes, %v", mode, res.StatusCode, len(body), err)
			}
			if status, _, _ := b.get("/none"); status != 404 {
				t.Errorf("the next request: %d", status)
			}
		}
	}
}

// TestTimeline is shown to whom it is meant for.
func TestTimeline(t *testing.T) {
	b := start(t, plugins.Registry{"deny": {Name: "deny", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return plugins.Exit(403, "no"), nil }}, nil
		})}})
	b.put(resource.Routes, "1", `{"uri":"/x","plugins":{"deny":{}}}`)
	for range 3 {
		if _, _, h := b.get("/x"); len(h["X-Times"]) > 0 {
			t.Errorf("shown to everybody: %v", h)
		}
	}
	for _, r := range b.g.PluginCounts() {
		if r.Plugin != "deny" || r.Replies != 3 {
			t.Errorf("%+v", r)
		}
	}
}

// TestInnerMetadata: a plugin in a plugin has its metadata, and what contains
// it is built anew when that changes.
func TestInnerMetadata(t *testing.T) {
	b := start(t, plugins.Registry{
		"inner": {Name: "inner", Schema: `{"type":"object"}`, Metadata: `{"type":"object","properties":{"text":{"default":"unset"}}}`,
			New: plugins.Build(func(_ *struct{}, env *plugins.Env) (plugins.Phases, error) {
				var md struct {
					Text string `json:"text"`
				}
				err := plugins.Decode(env.Metadata, &md)
				return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return plugins.Exit(200, md.Text), nil }}, err
			})},
		"outer": {Name: "outer", Schema: `{"type":"object"}`,
			New: plugins.Build(func(_ *struct{}, env *plugins.Env) (plugins.Phases, error) {
				return env.Build("inner", json.RawMessage(`{}`))
			})}})
	b.put(resource.Routes, "1", `{"uri":"/x","plugins":{"outer":{}}}`)
	for _, want := range []string{"", "one", "two"} {
		if want != "" {
			b.put(resource.PluginMetadata, "inner", `{"text":"`+want+`"}`)
		}
		if _, body, _ := b.get("/x"); body != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(body string) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// TestSecretChanges: a new value of a secret is in force without any change of
// the configuration.
func TestSecretChanges(t *testing.T) {
	var value atomic.Value
	value.Store("one")
	vault := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return answer(fmt.Sprintf(`{"data":{"key":%q}}`, value.Load()))
	})}
	secrets, err := secret.NewResolver(secret.Options{TTL: time.Millisecond, Client: vault})
	if err != nil {
		t.Fatal(err)
	}
	reg := plugins.Registry{"says": {Name: "says", Schema: `{"type":"object"}`,
		New: plugins.Build(func(c *struct{ Text string }, env *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return nil, errors.New(c.Text) }}, nil
		})}}
	catalog, _, err := plugins.NewCatalog(reg, []string{"says"})
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan int64, 100)
	g := gateway.New(gateway.Options{Catalog: catalog, Shared: &plugins.Shared{}, Mode: router.HostURI, Secrets: secrets,
		Grace: time.Millisecond, OnVersion: func(v gateway.Version) { changed <- v.Rev }})
	center := memory.New("/apisix")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.Follow(ctx, center) }()
	defer func() { cancel(); <-done; g.Close() }()
	put := func(kind resource.Kind, id, text string) {
		t.Helper()
		c, err := center.Put(ctx, kind, id, []byte(text), configcenter.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		<-g.Live(c.Mod)
	}
	put(resource.Secrets, "vault/1", `{"uri":"http://vault.test","prefix":"kv","token":"t"}`)
	put(resource.Routes, "1", `{"uri":"/x","plugins":{"says":{"text":"$secret://vault/1/a/key"}}}`)
	for len(changed) > 0 {
		<-changed
	}
	value.Store("two")
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was built anew")
	}
}

// TestNoFinalStatus: after an interim status a client would wait for another.
func TestNoFinalStatus(t *testing.T) {
	reg := plugins.Registry{"says": {Name: "says", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(c *plugins.Ctx) (*plugins.Reply, error) {
				code, err := strconv.Atoi(c.Query)
				return plugins.Exit(code, "body"), err
			}}, nil
		})}}
	b := start(t, reg)
	b.put(resource.Routes, "1", `{"uri":"/x","upstream":{"nodes":{"127.0.0.1:1":1}},"plugins":{"says":{}}}`)
	for code, want := range map[string]int{"100": 500, "101": 500, "103": 500, "199": 500, "-1": 500, "1000": 500, "0": 200, "200": 200, "599": 599, "999": 999} {
		if status, body, _ := b.get("/x?" + code); status != want || body != "body" {
			t.Errorf("%s: %d %q", code, status, body)
		}
	}
}

// TestConstructorPanics: a plugin that panics on a configuration keeps its
// route as it was, and nobody else notices.
func TestConstructorPanics(t *testing.T) {
	type conf struct {
		Text string `json:"text"`
	}
	says := plugins.Build(func(c *conf, _ *plugins.Env) (plugins.Phases, error) {
		if c.Text == "" {
			panic("no text")
		}
		return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return plugins.Exit(200, c.Text), nil }}, nil
	})
	b := start(t, plugins.Registry{"says": {Name: "says", Schema: `{"type":"object"}`, New: says}})
	b.put(resource.Routes, "1", `{"uri":"/x","plugins":{"says":{"text":"first"}}}`)
	b.put(resource.Routes, "1", `{"uri":"/x","plugins":{"says":{"text":""}}}`)
	b.put(resource.Routes, "2", `{"uri":"/y","plugins":{"says":{"text":"other"}}}`)
	for path, want := range map[string]string{"/x": "first", "/y": "other"} {
		if status, body, _ := b.get(path); status != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
}
