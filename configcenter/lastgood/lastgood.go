// Package lastgood keeps the last good configuration on disk, so that a gateway
// whose store cannot be reached when it starts still serves: a Source around a
// Source. It does not know where the configuration comes from, nor what it
// means.
package lastgood

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"sluice/configcenter"
)

// Options of a Source; the zero value is usable.
type Options struct {
	// Prefix and Cluster are written into the file. A file of another prefix is
	// not used: it is another gateway group's configuration.
	Prefix  string
	Cluster func() uint64 // asked when the file is written; nil: 0

	// Patience is how long the first batch of the store may take before what is
	// on disk is served; 2 s when 0. An error of the store ends the wait at once.
	Patience time.Duration
	// Interval is the least time between two writes; 2 s when 0.
	Interval time.Duration

	Log *slog.Logger // nil: nothing is logged
}

// Origin is where the configuration in force came from.
type Origin string

const (
	Nowhere Origin = "none"  // there is none yet
	Disk    Origin = "disk"  // the last good version of an earlier run
	Store   Origin = "store" // the store itself
)

// Status is what a Source has done so far.
type Status struct {
	Origin  Origin
	Rev     int64     // of the configuration in force
	Taken   time.Time // when it came in; of one from disk: when it was written
	Written time.Time // when the file was last written by this process
	Err     error     // the store's last error; nil after a batch
}

// Source sends what the store sends, and writes it down. Make it with New.
type Source struct {
	path  string
	inner configcenter.Source
	o     Options

	objects int                 // in the version served from disk; 0: none is served
	held    *configcenter.Batch // what the emptied store has sent since, not passed on

	mu     sync.Mutex
	status Status
	again  context.CancelFunc // ends the watch under way, so that another begins
}

var _ configcenter.Source = (*Source)(nil)

// New makes a source that keeps the last good version of inner in the file at
// path, whose folder must exist.
func New(path string, inner configcenter.Source, o Options) *Source {
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	if o.Interval == 0 {
		o.Interval = 2 * time.Second
	}
	if o.Cluster == nil {
		o.Cluster = func() uint64 { return 0 }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{path: path, inner: inner, o: o, status: Status{Origin: Nowhere}}
}

// Status is safe to call at any time.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Source) note(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

// event is what the store sent.
type event struct {
	batch configcenter.Batch
	err   error
}

// Watch sends what the store sends. When the store fails before its first
// batch, or takes too long for it, the file's version comes first; the store's
// first batch is full, and a Snapshot keeps what is the same in both.
func (s *Source) Watch(ctx context.Context) iter.Seq2[configcenter.Batch, error] {
	return func(yield func(configcenter.Batch, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		events := make(chan event)
		go s.receive(ctx, events)
		k := newKeeper(s)
		defer func() {
			cancel()
			for range events { // until receive has ended
			}
			k.close()
		}()
		patience := time.NewTimer(s.o.Patience)
		defer patience.Stop()
		for first := true; ; {
			select {
			case e, ok := <-events:
				if !ok || first && e.err != nil && !s.fromDisk(yield) || !s.pass(e, k, yield) {
					return
				}
				first = false
			case <-patience.C:
				if first && !s.fromDisk(yield) {
					return
				}
				first = false
			}
		}
	}
}

// receive hands over what the store sends; a batch waits until the one before
// was worked on, as it would without this source.
func (s *Source) receive(ctx context.Context, to chan<- event) {
	defer close(to)
	for ctx.Err() == nil {
		s.receiveOnce(ctx, to)
	}
}

func (s *Source) receiveOnce(ctx context.Context, to chan<- event) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.again = cancel
	s.mu.Unlock()
	for b, err := range s.inner.Watch(ctx) {
		select {
		case to <- event{b, err}:
		case <-ctx.Done():
			return
		}
	}
	<-ctx.Done() // a source that ended by itself has no more to say
}

// restart makes the store send everything again.
func (s *Source) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again()
}

func (s *Source) pass(e event, k *keeper, yield func(configcenter.Batch, error) bool) bool {
	if e.err == nil && s.hold(&e.batch) {
		e = event{err: errEmptied}
	}
	if e.err != nil {
		s.note(func(st *Status) { st.Err = e.err })
		return yield(e.batch, e.err)
	}
	s.objects = 0
	s.note(func(st *Status) {
		*st = Status{Origin: Store, Rev: e.batch.Rev, Taken: time.Now(), Written: st.Written}
	})
	if !yield(e.batch, nil) {
		return false
	}
	k.take(e.batch)
	return true
}

// errEmptied says that the store came back with nothing in it.
var errEmptied = errors.New("the store has no configuration any more; the last good one stays in force until it has some (or until a start without that file)")

// hold keeps a batch back that would leave nothing of the version from disk: a
// store that was away and comes back empty has lost its data. With what comes
// later it is passed on.
func (s *Source) hold(b *configcenter.Batch) bool {
	if s.held != nil {
		*b = configcenter.Coalesce(*s.held, *b)
		s.held = nil
	}
	if s.objects == 0 || !b.Full || slices.ContainsFunc(b.Changes, func(c configcenter.Change) bool { return c.Value != nil }) {
		return false
	}
	held := *b
	s.held = &held
	return true
}

// fromDisk sends the file's version, if there is a good one; false when the
// reader has enough.
func (s *Source) fromDisk(yield func(configcenter.Batch, error) bool) bool {
	v, err := Read(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true
	case err != nil:
		s.o.Log.Warn("the last good configuration on disk cannot be used", "file", s.path, "err", err)
		return true
	case v.Prefix != s.o.Prefix:
		s.o.Log.Warn("the last good configuration on disk is of another prefix and not used",
			"file", s.path, "prefix", v.Prefix, "want", s.o.Prefix)
		return true
	}
	s.o.Log.Warn("the configuration store does not answer, serving the last good configuration from disk",
		"file", s.path, "rev", v.Rev, "written", v.Written, "objects", len(v.Changes))
	s.note(func(st *Status) { st.Origin, st.Rev, st.Taken = Disk, v.Rev, v.Written })
	s.objects = len(v.Changes)
	return yield(configcenter.Batch{Rev: v.Rev, Full: true, Changes: v.Changes}, nil)
}
