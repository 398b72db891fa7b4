package accesslog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sluice/gateway/lane"
	"sluice/plugins"
)

// Options of a log. Zero values stand for the defaults.
type Options struct {
	Path   string        // file to append to; created when missing
	Buffer int           // bytes collected before they are written; 16384
	Flush  time.Duration // nothing stays in the buffer for longer; 3 s
	Queue  int           // full buffers that may wait for the disk; 64
	Logger *slog.Logger  // is told when writing begins to fail; nil: nobody
}

// Log is an access log. A nil *Log is one that is switched off.
//
// One goroutine, started by Open and ended by Close, does all file work. The
// request path only copies its line under a lock that is never held while
// anything waits.
type Log struct {
	format *Format
	opts   Options

	parts []part // one for each lane

	full    chan batch
	free    chan []byte
	reopen  chan chan error
	once    sync.Once // closes quit
	quit    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64
}

// part collects lines. There are several, so that processors do not wait for
// each other.
type part struct {
	mu      sync.Mutex
	current []byte
	count   uint64 // lines in current
	closed  bool
	_       [64]byte // nothing shares its lines of memory
}

// batch is a full buffer on its way to the disk.
type batch struct {
	text  []byte
	lines uint64
}

// Open opens the file and starts the log.
func Open(format *Format, o Options) (*Log, error) {
	if o.Buffer <= 0 {
		o.Buffer = 16384
	}
	if o.Flush <= 0 {
		o.Flush = 3 * time.Second
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	file, err := open(o.Path)
	if err != nil {
		return nil, err
	}
	l := &Log{
		format: format, opts: o, parts: make([]part, lane.N),
		full: make(chan batch, o.Queue), free: make(chan []byte, o.Queue),
		reopen: make(chan chan error), quit: make(chan struct{}), done: make(chan struct{}),
	}
	for i := range l.parts {
		l.parts[i].current = make([]byte, 0, o.Buffer)
	}
	go l.run(file)
	return l, nil
}

// open appends to the file, and makes it and its folder when they are missing.
func open(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// usual is longer than most lines: a buffer with less room is full.
const usual = 1 << 10

// Write logs a finished request. It never waits for the disk. at is the lane
// (gateway/lane) of who calls.
func (l *Log) Write(c *plugins.Ctx, at int) {
	if l == nil {
		return
	}
	now := c.End
	if now.IsZero() {
		now = time.Now()
	}
	p := &l.parts[at]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.dropped.Add(1)
		return
	}
	if len(p.current)+usual > l.opts.Buffer {
		l.hand(p)
	}
	p.current = l.format.Append(p.current, c, now)
	p.count++
	if len(p.current) >= l.opts.Buffer {
		l.hand(p)
	}
}

// hand gives p's buffer to the writer, or drops its lines when the writer is
// too far behind. The caller holds p.mu.
func (l *Log) hand(p *part) {
	if len(p.current) == 0 {
		return
	}
	select {
	case l.full <- batch{p.current, p.count}:
		p.current = l.empty()
	default:
		l.dropped.Add(p.count)
		if cap(p.current) > l.opts.Buffer { // a rare huge line should not hold its memory
			p.current = l.empty()
		}
	}
	p.current, p.count = p.current[:0], 0
}

// empty is a buffer to go on with.
func (l *Log) empty() []byte {
	select {
	case b := <-l.free:
		return b
	default:
		return make([]byte, 0, l.opts.Buffer)
	}
}

// Dropped is the number of lines that were lost: the disk was too slow, or
// refused them.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Reopen opens the file anew, for those who moved it away. When that fails the
// log stays with the old file.
func (l *Log) Reopen() error {
	if l == nil {
		return nil
	}
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.done:
		return errors.New("access log: closed")
	}
}

// Close writes what is left and closes the file. Lines after it are dropped.
func (l *Log) Close() {
	if l == nil {
		return
	}
	for i := range l.parts {
		p := &l.parts[i]
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
	}
	l.once.Do(func() { close(l.quit) })
	<-l.done
}

// run owns the file.
func (l *Log) run(file *os.File) {
	w := writer{log: l, file: file}
	defer close(l.done)
	defer func() { _ = w.file.Close() }()
	tick := time.NewTicker(l.opts.Flush)
	defer tick.Stop()
	for {
		select {
		case b := <-l.full:
			w.write(b)
		case <-tick.C:
			w.rest()
		case answer := <-l.reopen:
			w.rest()
			answer <- w.renew()
		case <-l.quit:
			w.rest()
			return
		}
	}
}

// writer is the state of run.
type writer struct {
	log     *Log
	file    *os.File
	failing bool // the last write failed, and was reported
}

func (w *writer) write(b batch) {
	_, err := w.file.Write(b.text)
	if err != nil {
		w.log.dropped.Add(b.lines)
		if !w.failing {
			w.log.opts.Logger.Error("access log: lines are lost", "err", err)
		}
	}
	w.failing = err != nil
	if cap(b.text) == w.log.opts.Buffer {
		select {
		case w.log.free <- b.text[:0]:
		default:
		}
	}
}

// rest writes everything there is.
func (w *writer) rest() {
	for {
		select {
		case b := <-w.log.full:
			w.write(b)
			continue
		default:
		}
		break
	}
	for i := range w.log.parts {
		w.part(&w.log.parts[i])
	}
}

// part writes what p has collected.
func (w *writer) part(p *part) {
	l := w.log
	p.mu.Lock()
	if len(p.current) == 0 {
		p.mu.Unlock()
		return
	}
	b := batch{p.current, p.count}
	p.current, p.count = l.empty(), 0
	// Full buffers from in between are older than b.
	older := len(l.full)
	p.mu.Unlock()
	for range older {
		w.write(<-l.full)
	}
	w.write(b)
}

func (w *writer) renew() error {
	file, err := open(w.log.opts.Path)
	if err != nil {
		return err
	}
	err = w.file.Close()
	w.file = file
	return err
}
