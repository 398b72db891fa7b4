package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/gateway/lane"
	"sluice/gateway/wire"
	"sluice/plugins"
)

func request() *plugins.Ctx {
	r := &wire.Request{Method: "GET", Target: "/get?x=1", Host: "a.com", Major: 1, Minor: 1}
	r.Header.Add("User-Agent", `curl "7" \ é`)
	c := &plugins.Ctx{}
	c.Reset(context.Background(), r, nil, nil)
	c.Path, c.Query, c.Addr = "/get", "x=1", netip.MustParseAddr("10.0.0.1")
	c.Start = time.Now().Add(-1500 * time.Millisecond)
	c.Resp = &wire.Response{Status: 200}
	c.BodySent = 12
	c.RequestID = "id-1"
	c.Tries = []plugins.Try{{Addr: "1.1.1.1:80", Status: 200, Header: time.Millisecond, Total: 5 * time.Millisecond}}
	return c
}

func line(t *testing.T, format, escape string, c *plugins.Ctx) string {
	t.Helper()
	f, err := Compile(format, escape)
	if err != nil {
		t.Fatal(err)
	}
	return string(f.Append(nil, c, time.Now()))
}

func TestDefaultFormat(t *testing.T) {
	got := line(t, DefaultFormat, "", request())
	want := regexp.MustCompile(`^10\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] a\.com "GET /get\?x=1 HTTP/1\.1" 200 12 \d+\.\d{3} ` +
		`"-" "curl \\x227\\x22 \\x5C \\xC3\\xA9" 1\.1\.1\.1:80 200 0\.005 "http://a\.com" "id-1"` + "\n$")
	if !want.MatchString(got) {
		t.Errorf("line %q does not match %s", got, want)
	}
}

func TestEscape(t *testing.T) {
	c := request()
	c.SetVar("v", "a\"\\\r\n\x01é")
	for escape, want := range map[string]string{
		EscapeDefault: `a\x22\x5C\x0D\x0A\x01\xC3\xA9|-` + "\n",
		EscapeJSON:    `a\"\\\r\n\u0001é|` + "\n",
		EscapeNone:    "a\"\\\\x0D\\x0A\x01é|\n",
	} {
		if got := line(t, "$v|${none}", escape, c); got != want {
			t.Errorf("%s: %q, want %q", escape, got, want)
		}
	}
	text := line(t, `{"ua":"$http_user_agent","t":"$time_iso8601","m":$msec}`, EscapeJSON, c)
	var v struct{ UA, T string }
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.UA != `curl "7" \ é` {
		t.Errorf("%s: %v, %+v", text, err, v)
	}
	if _, err := time.Parse(plugins.TimeISO8601, v.T); err != nil {
		t.Error(err)
	}
}

func TestDoubtfulMissesNothing(t *testing.T) {
	for b := range 256 {
		for at := range 16 {
			text := []byte("abcdefghijklmnop")
			text[at] = byte(b)
			if needsHex[b] && !bytes.Contains(doubtful(text), []byte{byte(b)}) {
				t.Fatalf("byte %#x at %d was skipped", b, at)
			}
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\nb\"\\")
	f.Fuzz(func(t *testing.T, value string) {
		c := request()
		c.SetVar("v", value)
		for _, escape := range []string{EscapeDefault, EscapeJSON, EscapeNone} {
			got := line(t, "$v", escape, c)
			if strings.ContainsAny(strings.TrimSuffix(got, "\n"), "\r\n") {
				t.Fatalf("%s: %q breaks the line: %q", escape, value, got)
			}
			if escape == EscapeJSON && !json.Valid([]byte(`"`+strings.TrimSuffix(got, "\n")+`"`)) {
				t.Fatalf("%q is no JSON: %q", value, got)
			}
		}
	})
}

func TestCompileErrors(t *testing.T) {
	for _, x := range [][2]string{{"$", ""}, {"a $- b", ""}, {"${a", ""}, {"${}", ""}, {"x", "html"}} {
		if _, err := Compile(x[0], x[1]); err == nil {
			t.Errorf("Compile(%q, %q) accepted", x[0], x[1])
		}
	}
}

func start(t *testing.T, o Options) *Log {
	t.Helper()
	f, err := Compile("$uri $request_time", "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func lines(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		if !strings.HasPrefix(l, "/get ") && l != "" {
			t.Fatalf("broken line %q", l)
		}
	}
	return strings.Count(string(b), "\n")
}

func TestEveryLineArrivesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := start(t, Options{Path: path, Buffer: 256, Queue: 10000})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				l.Write(request(), lane.Here())
			}
		})
	}
	wg.Wait()
	l.Close()
	if n := lines(t, path); n != 4000 || l.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", n, l.Dropped())
	}
	l.Write(request(), lane.Here())
	if l.Dropped() != 1 {
		t.Error("a line after Close was not counted")
	}
	l.Close()
	if l.Reopen() == nil {
		t.Error("a closed log was reopened")
	}
}

func TestFlushByTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := start(t, Options{Path: path, Flush: time.Millisecond})
	l.Write(request(), lane.Here())
	for deadline := time.Now().Add(10 * time.Second); lines(t, path) != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the line was never flushed")
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "access.log"), filepath.Join(dir, "old.log")
	l := start(t, Options{Path: path})
	l.Write(request(), lane.Here())
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Write(request(), lane.Here())
	l.Write(request(), lane.Here())
	l.Close()
	if a, b := lines(t, old), lines(t, path); a != 1 || b != 2 {
		t.Errorf("%d lines in the old file, %d in the new", a, b)
	}
}

// A pipe that nobody reads stands for a disk that hangs.
func TestSlowDiskDropsAndCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, Options{Path: path, Buffer: 4096, Queue: 2})
	const total = 20000 // far more than a pipe and the queue hold
	for range total {
		l.Write(request(), lane.Here())
	}
	if n := l.Dropped(); n == 0 || n >= total {
		t.Errorf("%d of %d dropped", n, total)
	}
	_ = reader.Close() // the write that hangs fails, and Close can end
	l.Close()
}

func TestOff(t *testing.T) {
	var l *Log
	l.Write(request(), lane.Here())
	l.Close()
	if l.Dropped() != 0 || l.Reopen() != nil {
		t.Error("a log that is off did something")
	}
}

func TestOpenError(t *testing.T) {
	f, err := Compile("x", "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f, Options{Path: filepath.Join(file, "access.log")}); err == nil {
		t.Error("opened a file below a file")
	}
	l, err := Open(f, Options{Path: filepath.Join(t.TempDir(), "new", "access.log")})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func BenchmarkWrite(b *testing.B) {
	f, err := Compile(DefaultFormat, "")
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(f, Options{Path: os.DevNull, Buffer: 64 << 10})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c := request()
	c.Req.Header.Reset()
	c.Req.Header.Add("User-Agent", "curl/8.5.0")
	c.Req.Header.Add("Accept", "*/*")
	c.RequestID = ""
	b.ReportAllocs()
	for b.Loop() {
		l.Write(c, lane.Here())
	}
}

func BenchmarkWriteParallel(b *testing.B) {
	f, err := Compile(DefaultFormat, "")
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(f, Options{Path: os.DevNull, Buffer: 64 << 10})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := request()
		c.Req.Header.Set("User-Agent", "curl/8.5.0")
		for pb.Next() {
			l.Write(c, lane.Here())
		}
	})
}
