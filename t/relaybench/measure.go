package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// limits of one measurement.
const (
	connecting = 60 * time.Second
	draining   = 20 * time.Second
	openers    = 32 // clients that connect at a time
)

// load is the clients of one measurement.
type load struct {
	all   []*watcher
	ended atomic.Int64 // connections
	runs  sync.WaitGroup
}

// measure is one subject with a number of watchers.
func (b *bench) measure(name string, watchers int) (*row, error) {
	r := &row{name: name, watchers: watchers, rate: b.rate}
	etcd, subject, err := b.start(name)
	if err != nil {
		return nil, err
	}
	defer etcd.stop()
	if subject != etcd {
		defer subject.stop()
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	w := &writer{c: c, rate: b.rate}
	before := subject.rss()
	l := &load{}
	defer l.close()
	begun := time.Now()
	if err := l.open(subject.addr, watchers); err != nil {
		r.failed = err.Error()
		return r, nil
	}
	fmt.Fprintf(os.Stderr, "connected in %v, %d bytes per watcher\n", time.Since(begun).Round(time.Millisecond), (subject.rss()-before)/int64(watchers))
	if r.streams, err = etcd.metric("etcd_debugging_mvcc_watch_stream_total"); err != nil {
		return nil, err
	}
	cpu, mine := subject.cpu(), self()
	h, err := l.phase(w, b.duration)
	if err != nil {
		return nil, err
	}
	r.reached = float64(w.number) / w.took.Seconds()
	r.cpu = (subject.cpu() - cpu).Seconds() / b.duration.Seconds()
	r.messages = h.messages.Load()
	fmt.Fprintf(os.Stderr, "per message: %v of the subject, %v of the clients\n", (subject.cpu()-cpu)/time.Duration(max(1, r.messages)), (self()-mine)/time.Duration(max(1, r.messages)))
	r.p50, r.p99, r.longest = h.at(0.5), h.at(0.99), h.at(0.999999)
	r.memory = float64(subject.rss()-before) / float64(watchers)
	r.complete = l.complete(w.number)
	if name == "relay" && b.stuck > 0 && r.complete == watchers {
		if err := b.jam(r, l, w, subject); err != nil {
			return nil, err
		}
		r.complete = l.complete(w.number)
	}
	return r, nil
}

// jam adds clients that do not read, for a while and again.
func (b *bench) jam(r *row, l *load, w *writer, subject *process) error {
	const rounds = 2
	calm, jammed := &histogram{}, &histogram{}
	for range rounds {
		h, err := l.phase(w, b.duration/2)
		if err != nil {
			return err
		}
		calm.merge(h)
		var stuck []*watcher
		for range b.stuck {
			s, err := open(subject.addr, 4096, &histogram{})
			if err != nil {
				return err
			}
			stuck = append(stuck, s)
		}
		h, err = l.phase(w, b.duration/2)
		for _, s := range stuck {
			s.conn.Close()
		}
		if err != nil {
			return err
		}
		jammed.merge(h)
	}
	r.stuck, r.calmP99, r.stuckP99 = b.stuck, calm.at(0.99), jammed.at(0.99)
	return nil
}

func (h *histogram) merge(o *histogram) {
	for i := range o.counts {
		h.counts[i].Add(o.counts[i].Load())
	}
	h.messages.Add(o.messages.Load())
}

// open connects the clients.
func (l *load) open(addr string, n int) error {
	var (
		mu     sync.Mutex
		failed error
		wg     sync.WaitGroup
	)
	todo := make(chan struct{})
	deadline := time.Now().Add(connecting)
	for range min(openers, n) {
		wg.Go(func() {
			for range todo {
				w, err := open(addr, 1<<30, &histogram{})
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					l.all = append(l.all, w)
				}
				mu.Unlock()
			}
		})
	}
	for range n {
		mu.Lock()
		err := failed
		mu.Unlock()
		if err != nil || time.Now().After(deadline) {
			break
		}
		todo <- struct{}{}
	}
	close(todo)
	wg.Wait()
	if failed == nil && len(l.all) < n {
		failed = fmt.Errorf("%d of %d clients connected within %v", len(l.all), n, connecting)
	}
	for _, w := range l.all {
		l.runs.Go(func() { // ends with the connection
			w.run()
			l.ended.Add(1)
		})
	}
	return failed
}

func (l *load) close() {
	for _, w := range l.all {
		w.conn.Close()
	}
	l.runs.Wait()
}

// phase writes for a while, waits until everybody has everything, and returns
// the delays.
func (l *load) phase(w *writer, d time.Duration) (*histogram, error) {
	hs := make([]*histogram, 16)
	for i := range hs {
		hs[i] = &histogram{}
	}
	for i, c := range l.all { // nothing comes between phases
		c.into.Store(hs[i%len(hs)])
	}
	if err := w.write(d); err != nil {
		return nil, err
	}
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for end := time.Now().Add(draining); time.Now().Before(end) && !l.have(w.number); <-t.C {
	}
	h := &histogram{}
	for _, o := range hs {
		h.merge(o)
	}
	return h, nil
}

func (l *load) have(number int64) bool {
	for _, w := range l.all {
		if w.seen.Load() < number {
			return false
		}
	}
	return true
}

// complete is how many clients got everything in order and once.
func (l *load) complete(number int64) int {
	n := 0
	for _, w := range l.all {
		if w.seen.Load() == number && w.wrong.Load() == 0 {
			n++
		}
	}
	return n - int(l.ended.Load())
}

// writer makes numbered updates at a rate.
type writer struct {
	c      *clientv3.Client
	rate   int
	number int64
	took   time.Duration // of the last write
}

// write makes updates for a while; each has its number and when it was made.
func (w *writer) write(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d+draining)
	defer cancel()
	begun := time.Now()
	defer func() { w.took = time.Since(begun) }()
	// What a slow update holds up is made up for, within the time there is.
	for due := begun; due.Sub(begun) < d && time.Since(begun) < d; due = due.Add(time.Second / time.Duration(w.rate)) {
		<-time.After(time.Until(due))
		w.number++
		value := binary.BigEndian.AppendUint64(nil, uint64(w.number))
		value = binary.BigEndian.AppendUint64(value, uint64(time.Now().UnixNano()))
		value = append(value, make([]byte, 112)...)
		if _, err := w.c.Put(ctx, fmt.Sprintf("%s%d", prefix, w.number%100), string(value)); err != nil {
			return fmt.Errorf("update %d: %w", w.number, err)
		}
	}
	return nil
}
