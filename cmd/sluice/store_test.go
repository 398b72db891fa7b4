package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// withStore is a configuration with the embedded etcd.
func withStore(t *testing.T) (path string, ports []int) {
	t.Helper()
	path, ports = config(t, "")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("  role_traditional: {config_provider: yaml}\n"), nil, 1)
	text = bytes.Replace(text, []byte("  admin:\n"), []byte("  admin:\n    admin_key: [{name: admin, key: secret-key, role: admin}]\n"), 1)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, ports
}

func serving(t *testing.T, path string) *started {
	t.Helper()
	s := start("run", "-c", path)
	s.wait(t, "serving", func() bool { return strings.Contains(s.stderr.String(), "msg=serving") })
	return s
}

func (s *started) stop(t *testing.T) {
	t.Helper()
	s.signals <- syscall.SIGTERM
	if code := <-s.code; code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr.String())
	}
}

// finish runs a command to its end.
func finish(t *testing.T, want int, args ...string) string {
	t.Helper()
	s := start(args...)
	if code := <-s.code; code != want {
		t.Errorf("%q: exit code %d, want %d: %s%s", args, code, want, s.stdout.String(), s.stderr.String())
	}
	return s.stdout.String() + s.stderr.String()
}

// settled is finish with code 0, tried again while the gateway follows what was
// just done to its store.
func settled(t *testing.T, want string, args ...string) {
	t.Helper()
	out := ""
	for until := time.Now().Add(patience); time.Now().Before(until); {
		s := start(args...)
		code := <-s.code
		if out = s.stdout.String() + s.stderr.String(); code == 0 && strings.Contains(out, want) {
			return
		}
	}
	t.Errorf("%q: no %q in %s", args, want, out)
}

func adminPut(t *testing.T, port int, id string) {
	t.Helper()
	body := strings.NewReader(`{"uri":"/` + id + `","plugins":{}}`)
	req, err := http.NewRequest("PUT", fmt.Sprintf("http://127.0.0.1:%d/apisix/admin/routes/%s", port, id), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-KEY", "secret-key")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

// The store is written to a file, changed, and brought back; what it held is
// copied into another one.
func TestStoreCommands(t *testing.T) {
	path, ports := withStore(t)
	file := filepath.Join(t.TempDir(), "snapshot.db")
	s := serving(t, path)
	adminPut(t, ports[2], "one")
	finish(t, 0, "store", "snapshot", "-c", path, file)
	if out := finish(t, 1, "store", "snapshot", "-c", path, file); !strings.Contains(out, "exists already") {
		t.Error(out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	adminPut(t, ports[2], "two")
	if out := finish(t, 0, "store", "status", "-c", path); !strings.Contains(out, "allowed") {
		t.Error(out)
	}
	if out := finish(t, 0, "store", "defrag", "-c", path); !strings.Contains(out, "bytes after") {
		t.Error(out)
	}
	settled(t, "problems  0", "status", "-c", path)
	if out := finish(t, 1, "store", "restore", "-c", path, file); !strings.Contains(out, "in use by another process") {
		t.Error(out)
	}
	export(t, path)
	s.stop(t)
	if out := finish(t, 1, "status", "-c", path); !strings.Contains(out, "no gateway answers") {
		t.Error(out)
	}
	if out := finish(t, 0, "store", "restore", "-c", path, file); !strings.Contains(out, "what was there is now") {
		t.Error(out)
	}
	s = serving(t, path)
	defer s.stop(t)
	for uri, want := range map[string]int{"/one": 503, "/two": 404} { // a route without an upstream, and none
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", ports[0], uri))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", uri, resp.StatusCode, want)
		}
	}
}

// export copies into the store of a second gateway, which has its directories
// already.
func export(t *testing.T, path string) {
	t.Helper()
	other, ports := withStore(t)
	s := serving(t, other)
	defer s.stop(t)
	to := fmt.Sprintf("http://127.0.0.1:%d", ports[3])
	if out := finish(t, 1, "store", "export-to", "-c", path, to); !strings.Contains(out, "has keys below the prefix already") {
		t.Error(out)
	}
	finish(t, 0, "store", "export-to", "-c", path, "--overwrite", to)
	s.wait(t, "copy", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/route/two", ports[1]))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

func TestStoreUsage(t *testing.T) {
	path, _ := config(t, "")
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"store"}, 2, "Usage: sluice store"},
		{[]string{"store", "--help"}, 0, "Usage: sluice store"},
		{[]string{"store", "melt"}, 2, `there is no "melt"`},
		{[]string{"store", "snapshot"}, 2, "wants one argument: FILE"},
		{[]string{"store", "status", "x"}, 2, "wants no argument"},
		{[]string{"store", "status", "-c", path}, 1, "no embedded store"},
	} {
		if out := finish(t, c.code, c.args...); !strings.Contains(out, c.out) {
			t.Errorf("%q: %s", c.args, out)
		}
	}
}
