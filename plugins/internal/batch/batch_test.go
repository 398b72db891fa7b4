package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server takes batches, as long as it has no answer that is an error.
type server struct {
	mu      sync.Mutex
	batches []string
	at      []time.Time
	answers []error
}

func (s *server) send(_ context.Context, entries [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, string(Lines(entries)))
	s.at = append(s.at, time.Now())
	if len(s.answers) == 0 {
		return nil
	}
	err := s.answers[0]
	s.answers = s.answers[1:]
	return err
}

func (s *server) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(strings.Join(s.batches, "|"), "\n", ",")
}

// open opens a queue whose log goes to text.
func open(t testing.TB, env *plugins.Env, o Config, send Send) (*Queue, func()) {
	t.Helper()
	q, release, err := Open(env, &o, o, send)
	if err != nil {
		t.Fatal(err)
	}
	return q, release
}

func environment(text *strings.Builder) *plugins.Env {
	env := plugintest.Env()
	if text != nil {
		env.Log = slog.New(slog.NewTextHandler(text, nil))
	}
	return env
}

var usual = Config{Name: "log", BatchMaxSize: 3, InactiveTimeout: 5, BufferDuration: 13, RetryDelay: 2}

func push(q *Queue, entries ...string) {
	c := plugintest.Request("GET", "/")
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}}
	for _, e := range entries {
		q.Push(c, []byte(e))
	}
}

func TestBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s server
		q, release := open(t, environment(nil), usual, s.send)
		push(q, "a", "b", "c", "d")
		synctest.Wait()
		if got := s.got(); got != "a,b,c" {
			t.Errorf("sent %q", got)
		}
		release()
		if got := s.got(); got != "a,b,c|d" {
			t.Errorf("after the end %q", got)
		}
		push(q, "e")
		if q.pool.dropped.Load() != 1 || q.pool.entries.Load() != 0 {
			t.Error("an entry after the end is not counted as dropped")
		}
	})
}

func TestByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s server
		o := usual
		o.BatchMaxSize = 100
		q, release := open(t, environment(nil), o, s.send)
		defer release()
		began := time.Now()
		push(q, "a") // alone: after the inactive timeout
		time.Sleep(6 * time.Second)
		for range 5 { // ever new ones: after the buffer's duration
			push(q, "b")
			time.Sleep(4 * time.Second)
		}
		synctest.Wait()
		if got := s.got(); got != "a|b,b,b,b" {
			t.Errorf("sent %q", got)
		}
		if s.at[0].Sub(began) != 5*time.Second || s.at[1].Sub(began) != 19*time.Second {
			t.Errorf("sent after %v and %v", s.at[0].Sub(began), s.at[1].Sub(began))
		}
	})
}

func TestRetries(t *testing.T) {
	down := errors.New("down")
	for name, test := range map[string]struct {
		answers []error
		retries int
		sent    string
		log     string
		dropped uint64
	}{
		"no retry":        {[]error{down}, 0, "a,b,c", "Batch Processor[log] exceeded the max_retry_count[1] dropping the entries", 3},
		"one is enough":   {[]error{down}, 1, "a,b,c|a,b,c", "Batch Processor[log] failed to process entries: down", 0},
		"all in vain":     {[]error{down, down}, 1, "a,b,c|a,b,c", "exceeded the max_retry_count[2]", 3},
		"only the rest":   {[]error{&PartialError{1, down}}, 1, "a,b,c|b,c", "failed to process entries [2/3]: down", 0},
		"nothing remains": {[]error{&PartialError{3, down}}, 1, "a,b,c", "failed to process entries [0/3]: down", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var text strings.Builder
				s := server{answers: test.answers}
				o := usual
				o.MaxRetryCount = test.retries
				q, release := open(t, environment(&text), o, s.send)
				push(q, "a", "b", "c")
				time.Sleep(time.Minute)
				release()
				if got := s.got(); got != test.sent {
					t.Errorf("sent %q, want %q", got, test.sent)
				}
				if len(s.at) > 1 && s.at[1].Sub(s.at[0]) != 2*time.Second {
					t.Errorf("again after %v", s.at[1].Sub(s.at[0]))
				}
				if !strings.Contains(text.String(), test.log) || q.pool.dropped.Load() != test.dropped {
					t.Errorf("%d dropped, log %s", q.pool.dropped.Load(), text.String())
				}
			})
		})
	}
}

// TestSendPanics: it costs the batch, and is told.
func TestSendPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		one := usual
		one.BatchMaxSize, one.MaxRetryCount = 1, 0
		sent := 0
		q, release := open(t, environment(&text), one,
			func(context.Context, [][]byte) error {
				if sent++; sent == 1 {
					panic("no such index")
				}
				return nil
			})
		push(q, "one")
		synctest.Wait()
		push(q, "two")
		synctest.Wait()
		release()
		synctest.Wait()
		if sent != 2 || !strings.Contains(text.String(), "panic: no such index") {
			t.Errorf("%d batches, %s", sent, text.String())
		}
	})
}

func TestEndCutsRetriesShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		s := server{answers: []error{down, down, down, down, down, down}}
		o := usual
		o.MaxRetryCount, o.RetryDelay = 100, 3600
		q, release := open(t, environment(nil), o, s.send)
		push(q, "a", "b", "c", "d", "e", "f", "g")
		synctest.Wait()
		began := time.Now()
		release()
		if got := s.got(); got != "a,b,c|a,b,c|d,e,f|g" || time.Since(began) > time.Second {
			t.Errorf("sent %q in %v", got, time.Since(began))
		}
		if q.pool.entries.Load() != 0 || q.pool.bytes.Load() != 0 {
			t.Error("something still counts as pending")
		}
	})
}

func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		env := environment(&text)
		env.Metadata = json.RawMessage(`{"max_pending_entries":2}`)
		o := usual
		o.BatchMaxSize = 100
		var s server
		one, release := open(t, env, o, s.send)
		o.Name = "other" // another configuration of the same plugin
		two, releaseTwo := open(t, env, o, s.send)
		push(one, "a")
		push(two, "b", "c", "d")
		releaseTwo()
		push(one, "e")
		release()
		if got := s.got(); got != "b|a,e" {
			t.Errorf("sent %q", got)
		}
		if n := strings.Count(text.String(), "max pending entries limit exceeded. discarding entry."); n != 1 {
			t.Errorf("%d lines of %s", n, text.String())
		}
	})
}

func TestBytesAreBounded(t *testing.T) {
	b := &backlog{log: slog.New(slog.DiscardHandler)}
	b.limit.Store(100)
	if !b.take(maxPendingBytes) || b.take(1) {
		t.Error("the bound does not hold")
	}
	b.give(1, maxPendingBytes)
	if !b.take(1) || b.bytes.Load() != 1 || b.entries.Load() != 1 || b.dropped.Load() != 1 {
		t.Errorf("%d bytes, %d entries, %d dropped", b.bytes.Load(), b.entries.Load(), b.dropped.Load())
	}
}

func TestSharedByContent(t *testing.T) {
	env := environment(nil)
	var s server
	a, releaseA := open(t, env, usual, s.send)
	b, releaseB := open(t, env, usual, s.send)
	o := usual
	o.BatchMaxSize = 4
	c, releaseC := open(t, env, o, s.send)
	if a != b || a == c {
		t.Error("queues are not by content")
	}
	push(a, "x")
	releaseA()
	if s.got() != "" {
		t.Error("the queue ended with its first user")
	}
	releaseB()
	releaseC()
	if s.got() != "x" || env.Shared.Len() != 0 {
		t.Errorf("sent %q, %d values left", s.got(), env.Shared.Len())
	}
}

func TestEntries(t *testing.T) {
	env := environment(nil)
	var s server
	q, release := open(t, env, usual, s.send)
	defer release()
	lines := func() (l []string) {
		Entries(env.Shared)(func(metric string, value int64, labels ...string) {
			l = append(l, fmt.Sprintf("%s %d %q", metric, value, labels))
		})
		return l
	}
	if l := lines(); len(l) != 0 {
		t.Errorf("before the first entry: %q", l)
	}
	push(q, "a", "b")
	if l := lines(); len(l) != 1 || l[0] != `batch_process_entries 2 ["log" "1" "127.0.0.1"]` {
		t.Errorf("%q", l)
	}
}

func TestJSON(t *testing.T) {
	o := Config{BatchMaxSize: 2}
	if got := string(o.JSON([][]byte{[]byte("1"), []byte("2")})); got != "[1,2]" {
		t.Error(got)
	}
	o.BatchMaxSize = 1
	if got := string(o.JSON([][]byte{[]byte("1")})); got != "1" {
		t.Error(got)
	}
}

func BenchmarkPush(b *testing.B) {
	q, release := open(b, environment(nil), Config{BatchMaxSize: 1000, InactiveTimeout: 5, BufferDuration: 60},
		func(context.Context, [][]byte) error { return nil })
	defer release()
	c := plugintest.Request("GET", "/")
	entry := []byte("entry")
	b.ReportAllocs()
	for b.Loop() {
		q.Push(c, entry)
	}
}
