// Package batch collects the log entries of a plugin and hands them on in
// batches: when there are enough, when no more come, or when the oldest has
// waited for long enough. A queue lives by the content of its configuration,
// over versions and over the routes that have the same one.
//
// It does not know what an entry says, nor where it goes: that is a Send.
package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"sluice/plugins"
)

// Config has the members that every plugin with batches has in its configuration.
type Config struct {
	Name            string `json:"name"`             // in logs and metrics
	BatchMaxSize    int    `json:"batch_max_size"`   // entries
	InactiveTimeout int    `json:"inactive_timeout"` // seconds since the newest entry
	BufferDuration  int    `json:"buffer_duration"`  // seconds since the oldest entry
	MaxRetryCount   int    `json:"max_retry_count"`
	RetryDelay      int    `json:"retry_delay"` // seconds
}

// Send delivers entries, which it must not keep. An error means that none was
// taken, a *PartialError that the first few were.
type Send func(ctx context.Context, entries [][]byte) error

// PartialError says that of a batch the first Done entries were delivered.
type PartialError struct {
	Done int
	Err  error
}

func (e *PartialError) Error() string { return e.Err.Error() }

// Unwrap is the reason.
func (e *PartialError) Unwrap() error { return e.Err }

// Queue collects entries. Its one goroutine begins with the first entry and is
// ended, after a last delivery, when the last user has closed the queue.
type Queue struct {
	opts Config
	send Send
	log  *slog.Logger
	pool *backlog

	mu          sync.Mutex
	filling     [][]byte
	first, last time.Time // when the oldest and the newest of filling came
	full        [][][]byte
	label       labels
	running     bool
	closed      bool

	wake chan struct{} // there is something new to look at; holds one
	quit chan struct{}
	done chan struct{}
}

// labels are those of batch_process_entries; of the first request.
type labels struct{ route, server string }

func newQueue(o Config, send Send, log *slog.Logger, pool *backlog) *Queue {
	return &Queue{opts: o, send: send, log: log, pool: pool,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
}

// Push adds an entry, which then belongs to the queue, or drops it when too
// much is pending. It never waits.
func (q *Queue) Push(c *plugins.Ctx, entry []byte) {
	if !q.pool.take(len(entry)) {
		return
	}
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.pool.give(1, len(entry))
		q.pool.dropped.Add(1)
		return
	}
	if !q.running {
		q.running = true
		q.label = labelsOf(c)
		go q.run()
	}
	if len(q.filling) == 0 {
		q.first = now
	}
	q.last = now
	q.filling = append(q.filling, entry)
	if len(q.filling) >= q.opts.BatchMaxSize {
		q.full = append(q.full, q.filling)
		q.filling = nil
	} else if len(q.filling) > 1 {
		return // the goroutine has its timer already
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func labelsOf(c *plugins.Ctx) labels {
	l := labels{server: c.Req.Local.Addr().Unmap().String()}
	if c.Route != nil {
		l.route = string(c.Route.ID)
	}
	return l
}

// run delivers until quit is closed, and then once more.
func (q *Queue) run() {
	defer close(q.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if b := q.next(false); b != nil {
			if q.ending() {
				q.rest(b)
				return
			}
			q.deliver(b)
			continue
		}
		timer.Reset(q.due())
		select {
		case <-q.wake:
		case <-timer.C:
		case <-q.quit:
			q.rest(nil)
			return
		}
	}
}

// due is how long the collected entries may still wait.
func (q *Queue) due() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.filling) == 0 {
		return time.Hour
	}
	return time.Until(q.deadline())
}

// deadline is when filling is to be sent. The caller holds mu.
func (q *Queue) deadline() time.Time {
	idle := q.last.Add(time.Duration(q.opts.InactiveTimeout) * time.Second)
	old := q.first.Add(time.Duration(q.opts.BufferDuration) * time.Second)
	if old.Before(idle) {
		return old
	}
	return idle
}

// next takes the batch to send now, or nil. all takes also what could wait.
func (q *Queue) next(all bool) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.full) > 0 {
		b := q.full[0]
		q.full[0] = nil
		if q.full = q.full[1:]; len(q.full) == 0 {
			q.full = nil
		}
		return b
	}
	if len(q.filling) > 0 && (all || !time.Now().Before(q.deadline())) {
		b := q.filling
		q.filling = nil
		return b
	}
	return nil
}

// deliver sends a batch, again as often as is allowed, and then gives it up.
// The end of the queue cuts the waiting short: one try is left then.
func (q *Queue) deliver(entries [][]byte) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for try := 1; ; try++ {
		rest, ok := q.attempt(ctx, entries, try)
		if ok {
			return
		}
		entries = rest
		select {
		case <-time.After(time.Duration(q.opts.RetryDelay) * time.Second):
		case <-q.quit:
			last, cancel := context.WithTimeout(ctx, lastChance)
			defer cancel()
			q.attempt(last, entries, q.opts.MaxRetryCount+1)
			return
		}
	}
}

// safely is send, with a panic as an error: it costs this batch only.
func (q *Queue) safely(ctx context.Context, entries [][]byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return q.send(ctx, entries)
}

// attempt sends once. It reports whether the batch is done with: delivered, or
// given up after the last try; else what is left of it.
func (q *Queue) attempt(ctx context.Context, entries [][]byte, try int) (rest [][]byte, done bool) {
	err := q.safely(ctx, entries)
	if err == nil {
		q.settle(entries)
		return nil, true
	}
	var part *PartialError
	if errors.As(err, &part) && part.Done > 0 && part.Done <= len(entries) {
		q.log.Error(fmt.Sprintf("Batch Processor[%s] failed to process entries [%d/%d]: %v",
			q.opts.Name, len(entries)-part.Done, len(entries), err))
		q.settle(entries[:part.Done])
		entries = entries[part.Done:]
	} else {
		q.log.Error(fmt.Sprintf("Batch Processor[%s] failed to process entries: %v", q.opts.Name, err))
	}
	if len(entries) > 0 && try <= q.opts.MaxRetryCount {
		return entries, false
	}
	q.giveUp(entries, try)
	return nil, true
}

func (q *Queue) giveUp(entries [][]byte, try int) {
	q.log.Error(fmt.Sprintf("Batch Processor[%s] exceeded the max_retry_count[%d] dropping the entries", q.opts.Name, try))
	q.pool.dropped.Add(uint64(len(entries)))
	q.settle(entries)
}

// settle takes entries off the account of what is pending.
func (q *Queue) settle(entries [][]byte) {
	size := 0
	for _, e := range entries {
		size += len(e)
	}
	q.pool.give(len(entries), size)
}

// lastChance is how long the end of a queue may take for the batch that waits to
// be tried again, and then for all that is left. What is being sent has the time
// that the Send gives it.
const lastChance = 5 * time.Second

func (q *Queue) ending() bool {
	select {
	case <-q.quit:
		return true
	default:
		return false
	}
}

// rest sends b, when there is one, and everything else, each once.
func (q *Queue) rest(b [][]byte) {
	ctx, stop := context.WithTimeout(context.Background(), lastChance)
	defer stop()
	if b == nil {
		b = q.next(true)
	}
	for ; b != nil; b = q.next(true) {
		q.attempt(ctx, b, q.opts.MaxRetryCount+1)
	}
}

// close delivers what is left and waits for the goroutine's end.
func (q *Queue) close() {
	q.mu.Lock()
	q.closed = true
	running := q.running
	q.mu.Unlock()
	close(q.quit)
	if running {
		<-q.done
	}
}

// waiting is the number of entries that are being collected.
func (q *Queue) waiting() (n int, l labels, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.filling), q.label, q.running && q.opts.BatchMaxSize > 1
}
