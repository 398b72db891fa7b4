package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buffer is a log that may be read while somebody writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// started is a command under way.
type started struct {
	stdout, stderr buffer
	signals        chan os.Signal
	code           chan int
}

func start(args ...string) *started {
	s := &started{signals: make(chan os.Signal, 4), code: make(chan int, 1)}
	env := &environment{stdout: &s.stdout, stderr: &s.stderr, signals: s.signals}
	go func() { s.code <- dispatch(env, args) }()
	return s
}

// wait polls until ok, which must come true within the time of a slow machine.
func (s *started) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in time\nstdout: %s\nstderr: %s", what, s.stdout.String(), s.stderr.String())
		}
	}
}

// config writes a configuration on free ports and returns its path and ports.
func config(t *testing.T, extra string) (path string, ports []int) {
	t.Helper()
	dir := t.TempDir()
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		defer l.Close()
	}
	path = filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`
apisix:
  node_listen: [{ip: 127.0.0.1, port: %d}]
  ssl: {enable: false}
  control: {port: %d}
nginx_config: {http: {enable_access_log: false}}
plugin_attr: {prometheus: {enable_export_server: false}}
deployment:
  role: traditional
  role_traditional: {config_provider: yaml}
  admin:
    admin_listen: {port: %d}
sluice: {data_dir: %q, store_listen: "127.0.0.1:%d"}
%s`, ports[0], ports[1], ports[2], filepath.Join(dir, "data"), ports[3], extra)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, ports
}

func TestRunServesAndStops(t *testing.T) {
	path, ports := config(t, "")
	s := start("run", "-c", path)
	s.wait(t, "serving", func() bool { return strings.Contains(s.stderr.String(), "msg=serving") })
	for _, p := range ports[:3] {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/none", p))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	key, err := os.ReadFile(filepath.Join(filepath.Dir(path), "data", "admin.key"))
	if err != nil || !strings.Contains(s.stdout.String(), strings.TrimSpace(string(key))) {
		t.Errorf("the new admin key is not shown: %v\n%s", err, s.stdout.String())
	}
	if strings.Contains(s.stderr.String(), strings.TrimSpace(string(key))) {
		t.Error("the admin key is in the log")
	}
	s.signals <- syscall.SIGHUP
	s.wait(t, "SIGHUP", func() bool { return strings.Contains(s.stderr.String(), "SIGHUP is ignored") })
	s.signals <- syscall.SIGTERM
	if code := <-s.code; code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr.String())
	}
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0])); err == nil {
		t.Error("the port is still open")
	}
}

func TestRunReopensLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "logs", "error.log")
	path, _ := config(t, "")
	text, _ := os.ReadFile(path)
	text = bytes.Replace(text, []byte("nginx_config: {"), fmt.Appendf(nil, "nginx_config: {error_log: %q, ", log), 1)
	os.WriteFile(path, text, 0o644)
	s := start("run", "-c", path)
	read := func() string { b, _ := os.ReadFile(log); return string(b) }
	s.wait(t, "serving", func() bool { return strings.Contains(read(), "msg=serving") })
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	s.signals <- syscall.SIGUSR1
	s.wait(t, "new log", func() bool { _, err := os.Stat(log); return err == nil })
	s.signals <- syscall.SIGTERM
	<-s.code
	if !strings.Contains(read(), "msg=draining") {
		t.Errorf("the new log has %q", read())
	}
}

func TestPortInUse(t *testing.T) {
	path, ports := config(t, "")
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports[2]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := start("run", "-c", path)
	if code := <-s.code; code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := fmt.Sprintf("deployment.admin.admin_listen: cannot listen on 127.0.0.1:%d: the port is in use by another process", ports[2])
	if !strings.Contains(s.stderr.String(), want) {
		t.Errorf("stderr %q, want %q", s.stderr.String(), want)
	}
	if strings.Contains(s.stderr.String(), "serving") {
		t.Error("it served before all ports were open")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "data")); err == nil {
		t.Error("it left a data folder behind")
	}
}

func TestProxyProtocol(t *testing.T) {
	path, ports := config(t, "")
	text, _ := os.ReadFile(path)
	text = bytes.Replace(text, []byte("apisix:"), fmt.Appendf(nil, "apisix:\n  proxy_protocol: {listen_http_port: %d}", ports[3]), 1)
	os.WriteFile(path, text, 0o644)
	s := start("run", "-c", path)
	s.wait(t, "serving", func() bool { return strings.Contains(s.stderr.String(), "msg=serving") })
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[3]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
		t.Errorf("a request behind a PROXY header: %v", err)
	}
	s.signals <- syscall.SIGTERM
	<-s.code
}

func TestAdminTLS(t *testing.T) {
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writePair(t, cert, dir)
	path, ports := config(t, "")
	text, _ := os.ReadFile(path)
	text = bytes.Replace(text, []byte("  admin:\n"), fmt.Appendf(nil, "  admin:\n    https_admin: true\n    admin_api_mtls: {admin_ssl_cert: %q, admin_ssl_cert_key: %q, admin_ssl_ca_cert: %q}\n",
		dir+"/cert.pem", dir+"/key.pem", dir+"/cert.pem"), 1)
	os.WriteFile(path, text, 0o644)
	s := start("run", "-c", path)
	s.wait(t, "serving", func() bool { return strings.Contains(s.stderr.String(), "msg=serving") })
	for _, with := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		if with {
			tr.TLSClientConfig.Certificates = []tls.Certificate{cert}
		}
		resp, err := (&http.Client{Transport: tr}).Get(fmt.Sprintf("https://127.0.0.1:%d/", ports[2]))
		if err == nil && !with {
			t.Errorf("client certificate %v: %v", with, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		tr.CloseIdleConnections()
	}
	s.signals <- syscall.SIGTERM
	<-s.code
}

func writePair(t *testing.T, cert tls.Certificate, dir string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheck(t *testing.T) {
	path, _ := config(t, "frobnicate: 1")
	s := start("check", "-c", path)
	if code := <-s.code; code != 0 || !strings.Contains(s.stdout.String(), "configuration test is successful") {
		t.Errorf("code %d: %s%s", code, s.stdout.String(), s.stderr.String())
	}
	if !strings.Contains(s.stderr.String(), "frobnicate has no effect") {
		t.Errorf("no warning: %s", s.stderr.String())
	}
	bad, _ := config(t, "graphql: {max_size: x}")
	s = start("check", "-c", bad)
	if code := <-s.code; code != 1 || !strings.Contains(s.stderr.String(), "config.yaml:14: failed to merge, path[graphql->max_size]") {
		t.Errorf("code %d: %s", code, s.stderr.String())
	}
}

func TestEcho(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		s := start("echo", "--listen", "127.0.0.1:0", fmt.Sprintf("--tls=%v", withTLS))
		s.wait(t, "echo", func() bool { return strings.Contains(s.stdout.String(), "\n") })
		_, addr, _ := strings.Cut(strings.TrimSpace(s.stdout.String()), "listens on ")
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
		scheme := "http"
		if withTLS {
			scheme = "https"
			tr.Protocols.SetHTTP2(true)
		} else {
			tr.Protocols.SetUnencryptedHTTP2(true)
		}
		req, _ := http.NewRequest("PUT", scheme+"://"+addr+"/a?b=c", strings.NewReader("text"))
		req.Header.Add("X-A", "1")
		req.Header.Add("X-A", "2")
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var e echoed
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		tr.CloseIdleConnections()
		if e.Method != "PUT" || e.URI != "/a?b=c" || e.Proto != "HTTP/2.0" || e.Host != addr || e.Headers["X-A"] != "1, 2" || e.Body != "text" {
			t.Errorf("%+v", e)
		}
		s.signals <- syscall.SIGTERM
		if code := <-s.code; code != 0 {
			t.Errorf("exit code %d: %s", code, s.stderr.String())
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		out  string
	}{
		{nil, 0, "Usage: sluice <command>"},
		{[]string{"help"}, 0, "Usage: sluice <command>"},
		{[]string{"--help"}, 0, "Usage: sluice <command>"},
		{[]string{"help", "nothing"}, 2, "invalid argument: nothing"},
		{[]string{"frobnicate"}, 2, "invalid argument: frobnicate"},
		{[]string{"run", "-x"}, 2, "flag provided but not defined"},
		{[]string{"check", "file.yaml"}, 2, `unexpected argument "file.yaml"`},
		{[]string{"run", "-c", "/no/such.yaml"}, 1, "/no/such.yaml"},
		{[]string{"version"}, 0, "APISIX 3.18.0"},
		{[]string{"echo", "--listen", "nowhere"}, 1, "--listen nowhere"},
	} {
		s := start(tt.args...)
		if code := <-s.code; code != tt.code || !strings.Contains(s.stdout.String()+s.stderr.String(), tt.out) {
			t.Errorf("%q: code %d, %s%s", tt.args, code, s.stdout.String(), s.stderr.String())
		}
	}
	for _, c := range commands() {
		s := start("help", c.name)
		if <-s.code; !strings.Contains(s.stdout.String(), ":\n  sluice "+c.name) {
			t.Errorf("help %s has no example", c.name)
		}
	}
}

// TestUntilSignal: what rotates logs does not end a command.
func TestUntilSignal(t *testing.T) {
	signals := make(chan os.Signal)
	ctx, stop := (&environment{signals: signals}).untilSignal()
	defer stop()
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM} {
		select {
		case signals <- s:
		case <-ctx.Done():
			t.Fatalf("ended before %v", s)
		}
	}
	<-ctx.Done()
}
