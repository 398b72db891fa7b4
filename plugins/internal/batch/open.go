package batch

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/plugins"
)

// Limits are the members about batches that a plugin's metadata has.
type Limits struct {
	MaxPendingEntries int `json:"max_pending_entries"`
}

// Open returns the queue of a configuration, made on first use, and its
// release. conf is the whole configuration that o is part of: instances with
// the same one share the queue, and the Send of the first.
func Open(env *plugins.Env, o *Config, conf any, send Send) (*Queue, func(), error) {
	l := Limits{MaxPendingEntries: 8192}
	if err := plugins.Decode(env.Metadata, &l); err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	pool, freePool := plugins.Share(env.Shared, "batch/backlog/"+env.Name,
		func() *backlog { return &backlog{log: env.Log} }, nil)
	pool.limit.Store(int64(l.MaxPendingEntries))
	board, freeBoard := openBoard(env.Shared)
	key := fmt.Sprintf("batch/queue/%s/%x", env.Name, sha256.Sum256(text))
	q, freeQueue := plugins.Share(env.Shared, key, func() *Queue {
		q := newQueue(*o, send, env.Log, pool)
		board.add(q)
		return q
	}, func(q *Queue) {
		q.close()
		board.remove(q)
	})
	return q, func() { freeQueue(); freeBoard(); freePool() }, nil
}

// maxPendingBytes bounds the memory of all entries of a plugin that wait.
const maxPendingBytes = 64 << 20

// backlog is what of one plugin, over all its queues, is not yet delivered.
type backlog struct {
	entries, bytes, limit atomic.Int64
	dropped               atomic.Uint64 // since the start
	log                   *slog.Logger

	mu       sync.Mutex
	reported time.Time
	before   uint64 // dropped when it was last reported
}

// take makes room for an entry of that size, or says that there is none.
func (b *backlog) take(size int) bool {
	entries, bytes := b.entries.Add(1), b.bytes.Add(int64(size))
	if entries <= b.limit.Load() && bytes <= maxPendingBytes {
		return true
	}
	b.give(1, size)
	b.refused()
	return false
}

// refused counts an entry that is lost, and says so at most once a second.
func (b *backlog) refused() {
	dropped := b.dropped.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.reported) >= time.Second {
		b.log.Error("max pending entries limit exceeded. discarding entry.",
			"pending_entries", b.entries.Load(), "pending_bytes", b.bytes.Load(),
			"max_pending_entries", b.limit.Load(), "discarded_entries", dropped-b.before)
		b.reported, b.before = now, dropped
	}
}

func (b *backlog) give(entries, size int) {
	b.entries.Add(-int64(entries))
	b.bytes.Add(-int64(size))
}

// board knows all queues, for the metrics.
type board struct {
	mu     sync.Mutex
	queues map[*Queue]struct{}
}

func openBoard(s *plugins.Shared) (*board, func()) {
	return plugins.Share(s, "batch/board", func() *board { return &board{queues: map[*Queue]struct{}{}} }, nil)
}

func (b *board) add(q *Queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues[q] = struct{}{}
}

func (b *board) remove(q *Queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.queues, q)
}

// Entries yields batch_process_entries for the queues of shared: how many
// entries are being collected, by queue, route and address.
func Entries(shared *plugins.Shared) func(yield func(metric string, value int64, labels ...string)) {
	return func(yield func(string, int64, ...string)) {
		type line struct {
			name string
			labels
		}
		sums := map[line]int64{}
		b, release := openBoard(shared)
		defer release()
		b.mu.Lock()
		for q := range b.queues {
			if n, l, ok := q.waiting(); ok && l.route != "" {
				sums[line{q.opts.Name, l}] += int64(n)
			}
		}
		b.mu.Unlock()
		for l, n := range sums {
			yield("batch_process_entries", n, l.name, l.route, l.server)
		}
	}
}
