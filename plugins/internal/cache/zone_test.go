package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway/wire"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func memoryZone(t testing.TB, size int64) (*Zone, *clock) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	z := New(Options{Name: "m", Memory: size, Now: c.now, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(z.Close)
	return z, c
}

func get(fields ...string) *wire.Request {
	r := &wire.Request{Method: "GET", Host: "example.com"}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// keep stores body as the answer to r under key, as if it passed to a client.
func keep(t testing.TB, z *Zone, key string, r *wire.Request, body string, vary ...string) {
	t.Helper()
	_, ticket := z.Find([]byte(key), r, "")
	keepWith(t, z, ticket, key, r, strings.NewReader(body), int64(len(body)), vary...)
}

func keepWith(t testing.TB, z *Zone, ticket Ticket, key string, r *wire.Request, body io.Reader, length int64, vary ...string) {
	t.Helper()
	var h wire.Header
	h.Add("Content-Type", "text/plain")
	h.Add("X-Not", "kept")
	e := NewEntry([]byte(key), r, "", vary, 200, &h, func(name string) bool { return name != "X-Not" })
	resp := &wire.Response{Status: 200, ContentLength: length, Body: io.NopCloser(body)}
	z.Fill(e, ticket, resp, 1<<20, time.Minute)
	_, _ = io.Copy(io.Discard, resp.Body) // what fails is not stored
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// found is the body stored for r under key, or "".
func found(t testing.TB, z *Zone, key string, r *wire.Request) string {
	t.Helper()
	e, _ := z.Find([]byte(key), r, "")
	if e == nil {
		return ""
	}
	return bodyOf(t, z, e, 0, e.Length)
}

func bodyOf(t testing.TB, z *Zone, e *Entry, from, n int64) string {
	t.Helper()
	b, stream, err := z.Open(e, from, n)
	if err != nil {
		return ""
	}
	if stream != nil {
		defer stream.Close()
		if b, err = io.ReadAll(stream); err != nil {
			return ""
		}
	}
	return string(b)
}

func TestStored(t *testing.T) {
	z, c := memoryZone(t, 1<<20)
	keep(t, z, "k", get(), "hello")
	e, _ := z.Find([]byte("k"), get(), "")
	if e == nil || e.Status != 200 || e.Length != 5 || e.Header.Len() != 1 || e.Header.Get("content-type") != "text/plain" {
		t.Fatalf("%+v", e)
	}
	if e.Stored != c.t.UnixNano() || e.Expires != c.t.Add(time.Minute).UnixNano() {
		t.Errorf("stored %d, expires %d", e.Stored, e.Expires)
	}
	if got := bodyOf(t, z, e, 1, 3); got != "ell" {
		t.Errorf("part %q", got)
	}
	if found(t, z, "other", get()) != "" {
		t.Error("another key has it, too")
	}
	keep(t, z, "k", get(), "newer")
	if got := found(t, z, "k", get()); got != "newer" {
		t.Errorf("%q", got)
	}
	if n, memory, _ := z.Used(); n != 1 || memory < 5 {
		t.Errorf("%d entries, %d bytes", n, memory)
	}
	if !z.Purge([]byte("k")) || z.Purge([]byte("k")) || found(t, z, "k", get()) != "" {
		t.Error("not purged once and for all")
	}
	if n, memory, _ := z.Used(); n != 0 || memory != 0 || z.filling.Load() != 0 {
		t.Errorf("%d entries, %d bytes, %d on their way", n, memory, z.filling.Load())
	}
}

// TestVariants: each combination of the fields named by Vary has its own.
func TestVariants(t *testing.T) {
	z, _ := memoryZone(t, 1<<20)
	vary := []string{"accept-encoding", "host"}
	for _, enc := range []string{"gzip", "br", ""} {
		keep(t, z, "k", get("Accept-Encoding", enc), "as "+enc, vary...)
	}
	keep(t, z, "k", get(), "as none", vary...) // absent is not empty
	for _, c := range []struct {
		r    *wire.Request
		want string
	}{
		{get("accept-encoding", "gzip"), "as gzip"}, {get("Accept-Encoding", "br", "X", "y"), "as br"},
		{get("Accept-Encoding", ""), "as "}, {get(), "as none"}, {get("Accept-Encoding", "gz", "Accept-Encoding", "ip"), ""},
		{get("Accept-Encoding", "deflate"), ""}, {&wire.Request{Host: "other"}, ""},
	} {
		if got := found(t, z, "k", c.r); got != c.want {
			t.Errorf("%v: %q, want %q", c.r.Header, got, c.want)
		}
	}
	if e, _ := z.Find([]byte("k"), get(), "body"); e != nil {
		t.Error("what the body adds is not looked at")
	}
	keep(t, z, "k", get("X", "1"), "by x", "x") // the response changed its mind: the others are of no use
	if got := found(t, z, "k", get("Accept-Encoding", "gzip")); got != "" {
		t.Errorf("still %q", got)
	}
	for i := range 3 * maxVariants {
		keep(t, z, "k", get("X", fmt.Sprint(i)), "v", "x")
	}
	if n, _, _ := z.Used(); n != maxVariants {
		t.Errorf("%d variants of one key", n)
	}
	z.Purge([]byte("k"))
	if n, memory, _ := z.Used(); n != 0 || memory != 0 {
		t.Errorf("%d entries, %d bytes after the purge", n, memory)
	}
}

// TestBodies: one URL that is asked for with many bodies has many responses.
func TestBodies(t *testing.T) {
	z, _ := memoryZone(t, 64<<20)
	for i := range maxBodies + 100 {
		extra := fmt.Sprint(i)
		_, ticket := z.Find([]byte("k"), get(), extra)
		e := NewEntry([]byte("k"), get(), extra, nil, 200, &wire.Header{}, nil)
		z.Fill(e, ticket, &wire.Response{Status: 200}, 100, time.Minute)
	}
	for i, want := range map[int]bool{0: false, 99: false, 100: true, maxBodies + 99: true} {
		if e, _ := z.Find([]byte("k"), get(), fmt.Sprint(i)); (e != nil) != want {
			t.Errorf("%d: %v", i, e)
		}
	}
	if n, _, _ := z.Used(); n != maxBodies || !z.Purge([]byte("k")) {
		t.Errorf("%d entries", n)
	}
	if n, memory, _ := z.Used(); n != 0 || memory != 0 {
		t.Errorf("%d entries, %d bytes after the purge", n, memory)
	}
}

// TestBound: the zone never takes more than its size, and what is asked for stays.
func TestBound(t *testing.T) {
	const size = 64 << 10
	z, _ := memoryZone(t, size)
	body := strings.Repeat("x", 1000)
	keep(t, z, "wanted", get(), body)
	for i := range 1000 {
		keep(t, z, fmt.Sprint(i), get(), body)
		if found(t, z, "wanted", get()) == "" {
			t.Fatalf("gone after %d others", i)
		}
		if _, memory, _ := z.Used(); memory > size {
			t.Fatalf("%d bytes", memory)
		}
	}
	if n, _, _ := z.Used(); n < size/1000/2 || found(t, z, "0", get()) != "" || found(t, z, "999", get()) == "" {
		t.Errorf("%d entries", n)
	}
	keys := 0
	for i := range z.parts {
		keys += len(z.parts[i].m)
	}
	if n, _, _ := z.Used(); n != keys {
		t.Errorf("%d keys for %d entries", keys, n)
	}
	keep(t, z, "big", get(), strings.Repeat("x", size))
	if found(t, z, "big", get()) != "" || found(t, z, "wanted", get()) == "" {
		t.Error("a body as long as the zone was taken in")
	}
}

// TestIncomplete: what did not end as it should is not stored, and passes.
func TestIncomplete(t *testing.T) {
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
	}{
		"short":     {strings.NewReader("abc"), 4},
		"long":      {strings.NewReader("abcde"), 4},
		"failed":    {io.MultiReader(strings.NewReader("abc"), failing{}), -1},
		"too large": {bytes.NewReader(make([]byte, 2<<20)), -1},
		"announced": {bytes.NewReader(make([]byte, 2<<20)), 2 << 20},
	} {
		z, _ := memoryZone(t, 10<<20)
		keepWith(t, z, ticket(z, "k"), "k", get(), c.body, c.length)
		if n, memory, _ := z.Used(); n != 0 || memory != 0 || z.filling.Load() != 0 {
			t.Errorf("%s: %d entries, %d bytes, %d on their way", name, n, memory, z.filling.Load())
		}
	}
	z, _ := memoryZone(t, 1<<20)
	resp := &wire.Response{Status: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader("abc"))}
	resp.Trailer.Add("Grpc-Status", "0")
	z.Fill(NewEntry([]byte("k"), get(), "", nil, 200, &wire.Header{}, nil), ticket(z, "k"), resp, 100, time.Minute)
	if b, err := io.ReadAll(resp.Body); string(b) != "abc" || err != nil || found(t, z, "k", get()) != "" {
		t.Error("a response with trailers was stored")
	}
	keepWith(t, z, ticket(z, "k"), "k", get(), strings.NewReader("unknown length"), -1)
	keepWith(t, z, ticket(z, "empty"), "empty", get(), strings.NewReader(""), 0)
	if e, _ := z.Find([]byte("empty"), get(), ""); found(t, z, "k", get()) != "unknown length" || e == nil || e.Length != 0 {
		t.Error("what is complete was not stored")
	}
}

func ticket(z *Zone, key string) Ticket { _, t := z.Find([]byte(key), get(), ""); return t }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// TestDrained: the rest of a body that the client has no use for is stored.
func TestDrained(t *testing.T) {
	z, _ := memoryZone(t, 1<<20)
	fill := func(body io.Reader) io.ReadCloser {
		resp := &wire.Response{Status: 200, ContentLength: -1, Body: io.NopCloser(body)}
		z.Fill(NewEntry([]byte("k"), get(), "", nil, 200, &wire.Header{}, nil), ticket(z, "k"), resp, 1000, time.Minute)
		return resp.Body
	}
	part := Window(fill(strings.NewReader("hello world")), 2, 3)
	if b, err := io.ReadAll(part); string(b) != "llo" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if found(t, z, "k", get()) != "" {
		t.Error("stored before its end")
	}
	part.Close()
	if got := found(t, z, "k", get()); got != "hello world" {
		t.Errorf("%q", got)
	}
	z.Purge([]byte("k"))
	fill(endless{}).Close() // ends at the limit
	if found(t, z, "k", get()) != "" || z.filling.Load() != 0 {
		t.Error("an endless body was stored")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return min(len(p), 100), nil }

// TestPurgedMeanwhile: what was asked for before a purge is not stored after it.
func TestPurgedMeanwhile(t *testing.T) {
	z, _ := memoryZone(t, 1<<20)
	old := ticket(z, "k")
	z.Purge([]byte("k"))
	keepWith(t, z, old, "k", get(), strings.NewReader("old"), 3)
	if got := found(t, z, "k", get()); got != "" {
		t.Errorf("%q", got)
	}
	again := ticket(z, "k")
	for i := range 20 * shards { // others are purged all the time
		z.Purge(fmt.Append(nil, i))
	}
	keepWith(t, z, again, "k", get(), strings.NewReader("new"), 3)
	if got := found(t, z, "k", get()); got != "new" {
		t.Errorf("%q", got)
	}
	z.Purge([]byte("k"))
	for i := range 2 * maxPurged * shards { // it is not forgotten in favour of the old
		z.Purge(fmt.Append(nil, i))
	}
	for i := range z.parts {
		if n := len(z.parts[i].purged); n > maxPurged {
			t.Errorf("%d purges are remembered", n)
		}
	}
	keepWith(t, z, old, "k", get(), strings.NewReader("old"), 3)
	if got := found(t, z, "k", get()); got != "" {
		t.Errorf("%q", got)
	}
	keepWith(t, z, ticket(z, "k"), "k", get(), strings.NewReader("new"), 3)
	if got := found(t, z, "k", get()); got != "new" {
		t.Errorf("%q", got)
	}
}

// TestTogether is for the race detector, and for the books to be right after it.
func TestTogether(t *testing.T) {
	z, _ := memoryZone(t, 20<<10)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				key := fmt.Sprint(i * (w + 1) % 37)
				if got := found(t, z, key, get()); got != "" && got != "body of "+key {
					t.Errorf("%s has %q", key, got)
				}
				keep(t, z, key, get(), "body of "+key)
				if i%50 == 0 {
					z.Purge([]byte(key))
				}
			}
		})
	}
	wg.Wait()
	var n int
	var memory int64
	for e := z.list.next; e != &z.list; e = e.next {
		n++
		memory += e.memory
		if z.partOf(e.key).m[e.key] == nil {
			t.Errorf("%q is listed and cannot be found", e.key)
		}
	}
	if entries, used, _ := z.Used(); n != entries || memory != used || used > 20<<10 || z.filling.Load() != 0 {
		t.Errorf("%d entries of %d bytes, %d of %d in the books", n, memory, entries, used)
	}
}

func BenchmarkFind(b *testing.B) {
	z, _ := memoryZone(b, 1<<20)
	keep(b, z, "plain", get(), "hello")
	keep(b, z, "varied", get("Accept-Encoding", "gzip"), "hello", "accept-encoding")
	for _, name := range []string{"plain", "varied"} {
		b.Run(name, func(b *testing.B) {
			r, key := get("Accept-Encoding", "gzip"), []byte(name)
			b.ReportAllocs()
			for b.Loop() {
				if e, _ := z.Find(key, r, ""); e == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
