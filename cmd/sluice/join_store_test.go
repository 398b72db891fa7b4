package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/configcenter/adapter/backendtest"
)

// configBackend writes a configuration with a store in place of the built-in
// etcd.
func configBackend(t *testing.T, url string) (path string, ports []int) {
	t.Helper()
	path, ports = config(t, "")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("config_provider: yaml"), []byte("config_provider: etcd"), 1)
	text = bytes.Replace(text, []byte("sluice: {"), fmt.Appendf(nil, "sluice: {store_backend: %q, ", url), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, ports
}

// request sends a request to the Admin API and returns the answer's status.
func request(t *testing.T, path, method, url, body string) int {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(filepath.Dir(path), "data", "admin.key"))
	if err != nil {
		return 0 // not there yet
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-KEY", strings.TrimSpace(string(key)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// What goes on beside the start holds up neither that nor the end, however it ends itself.
func TestBeside(t *testing.T) {
	broken := errors.New("broken")
	for name, x := range map[string]struct {
		serve func(ctx context.Context, ready func()) error
		want  error
		log   bool
	}{
		"fails at once":      {func(context.Context, func()) error { return broken }, broken, false},
		"fails when it ends": {func(ctx context.Context, ready func()) error { ready(); <-ctx.Done(); return broken }, nil, true},
		"is never ready":     {func(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }, nil, false},
		"is ready and ends":  {func(_ context.Context, ready func()) error { ready(); return nil }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				p := &parts{ctx: context.Background(), log: slog.New(slog.NewTextHandler(&log, nil))}
				if err := p.beside(time.Second, x.serve); err != x.want {
					t.Error(err)
				}
				if err := p.close(t.Context()); err != nil || (log.Len() > 0) != x.log {
					t.Errorf("%v, %s", err, &log)
				}
			})
		})
	}
}

// A gateway keeps its configuration in each kind of store, across a restart.
func TestStoreBackend(t *testing.T) {
	for _, k := range backendtest.Kinds {
		if !k.Durable {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			path, ports := configBackend(t, k.URL(t))
			admin := fmt.Sprintf("http://127.0.0.1:%d/apisix/admin/routes/1", ports[2])
			front := fmt.Sprintf("http://127.0.0.1:%d/hello", ports[0])
			for _, method := range []string{"PUT", "GET"} {
				s := start("run", "-c", path)
				s.wait(t, method, func() bool {
					status := request(t, path, method, admin, `{"uri": "/hello", "plugins": {"mocking": {"response_status": 299, "response_example": "x"}}}`)
					return status == 200 || status == 201
				})
				s.wait(t, "the route", func() bool { return request(t, path, "GET", front, "") == 299 })
				s.signals <- syscall.SIGTERM
				if code := <-s.code; code != 0 {
					t.Errorf("exit code %d\n%s", code, s.stderr.String())
				}
			}
		})
	}
}

// A gateway starts while its database is away, from its last good version, and
// uses the database when that comes.
func TestStoreBackendAway(t *testing.T) {
	for _, k := range backendtest.Kinds {
		if k.Name != "postgres" {
			continue
		}
		server := k.Server(t)
		path, ports := configBackend(t, server.URL(t))
		admin := fmt.Sprintf("http://127.0.0.1:%d/apisix/admin/routes/1", ports[2])
		front := fmt.Sprintf("http://127.0.0.1:%d/hello", ports[0])
		route := `{"uri": "/hello", "plugins": {"mocking": {"response_status": 299, "response_example": "x"}}}`
		s := start("run", "-c", path)
		s.wait(t, "the first start", func() bool { return request(t, path, "PUT", admin, route) == 201 })
		s.wait(t, "the route", func() bool { return request(t, path, "GET", front, "") == 299 })
		s.signals <- syscall.SIGTERM
		<-s.code
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		s = start("run", "-c", path)
		s.wait(t, "a start without the database", func() bool { return request(t, path, "GET", front, "") == 299 })
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		s.wait(t, "the database", func() bool { return request(t, path, "PUT", admin, strings.Replace(route, "299", "298", 1)) == 200 })
		s.wait(t, "the change", func() bool { return request(t, path, "GET", front, "") == 298 })
		s.signals <- syscall.SIGTERM
		<-s.code
	}
}
