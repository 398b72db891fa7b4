package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"sluice/configcenter"
)

// errReload says that the watch cannot go on from where it was: the history
// was compacted, or the store went back behind it. All is read again.
var errReload = errors.New("reading everything again")

// firstPause is the pause before the first try to reconnect; it doubles up to
// the configured delay.
const firstPause = 50 * time.Millisecond

// reader is one Watch: where it is, and how it recovers.
type reader struct {
	c     *Center
	link  *link // its own: a watch is not behind the Admin API's requests
	yield func(configcenter.Batch, error) bool
	at    version // everything up to here was handed out
	pause time.Duration
	done  bool    // the consumer has enough
	known *ledger // every key below the prefix, with its revision
	// audits counts comparisons: every so many, all keys are compared.
	audits int
}

// Watch sends everything and then, batch by batch, what changes. While a batch
// is worked on, further ones are gathered into the next. Only events and
// notifications of progress move the revision on, never silence.
func (c *Center) Watch(ctx context.Context) iter.Seq2[configcenter.Batch, error] {
	return func(yield func(configcenter.Batch, error) bool) {
		r := &reader{c: c, link: c.newLink(), yield: yield, pause: firstPause}
		defer r.link.close()
		r.run(ctx)
	}
}

func (r *reader) run(ctx context.Context) {
	full := true
	for ctx.Err() == nil && !r.done {
		var err error
		if full {
			err = r.load(ctx)
		}
		loaded := err == nil
		if loaded && !r.done {
			full = false
			err = r.follow(ctx)
		}
		if ctx.Err() != nil || r.done {
			return
		}
		if errors.Is(err, errDrift) { // the store is there, nothing was lost
			r.c.drifts.Add(1)
			r.c.cfg.Log.Error("the configuration was not what etcd holds, reading it again", "err", err)
			full = true
			continue
		}
		r.c.reachable.Store(false)
		full = full || errors.Is(err, errReload)
		if !r.yield(configcenter.Batch{}, err) {
			return
		}
		if loaded && errors.Is(err, errReload) {
			continue // the store is there, and says that all is to be read again
		}
		if !r.wait(ctx) {
			return
		}
	}
}

// wait pauses before the next try: briefly first, then up to the configured
// delay, with jitter so that a fleet does not come back in step. The longest
// pause and a connection are together within the delay.
func (r *reader) wait(ctx context.Context) bool {
	d := r.pause * 4 / 10
	r.pause = min(2*r.pause, r.c.cfg.ResyncDelay)
	return pause(ctx, d+rand.N(d+1))
}

// load hands out everything as one full batch. When there is no connection it
// says so at once. A store that has nothing at all where there was something has
// lost its data, and the last configuration stays until it has some.
func (r *reader) load(ctx context.Context) error {
	all, known, at, err := r.c.readAll(ctx, r.link, r.c.cfg.Prefix+"/")
	if errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("%w: %w", errReload, err) // between two pages
	}
	if err != nil {
		return err
	}
	if len(known.revs) == 0 && r.known != nil && len(r.known.revs) > 0 {
		return fmt.Errorf("%w: etcd has no key below %s any more, keeping what it had", errReload, r.c.cfg.Prefix)
	}
	r.at, r.known = at, known
	r.c.cluster.Store(at.cluster)
	r.c.reachable.Store(true)
	r.send(configcenter.Batch{Rev: at.rev, Full: true, Changes: all})
	return nil
}

func (r *reader) send(b configcenter.Batch) {
	if !r.done && !r.yield(b, nil) {
		r.done = true
	}
}

// follow hands out changes until the watch is lost.
func (r *reader) follow(ctx context.Context) error {
	cl, err := r.link.use(ctx)
	if err != nil {
		return fmt.Errorf("etcd watch: %w", err)
	}
	defer r.link.done(cl)
	s, err := r.c.openStream(ctx, cl.Client, r.at)
	if err != nil {
		r.link.leave(cl)
		return err
	}
	defer s.close()
	err = r.take(ctx, s)
	if err != nil && !errors.Is(err, errDrift) && !errors.Is(err, errReload) {
		r.link.leave(cl) // another endpoint may do better
	}
	return err
}

// take hands out what comes in on s until that ends.
func (r *reader) take(ctx context.Context, s *stream) error {
	start := time.Now()
	if r.c.cfg.AuditInterval > 0 {
		// With jitter, so that a fleet does not ask in step.
		audits := time.NewTicker(r.c.cfg.AuditInterval + rand.N(r.c.cfg.AuditInterval/4+1))
		defer audits.Stop()
		s.audits = audits.C
	}
	s.known = r.known
	for !r.done {
		b, err := s.next(r.at.rev)
		if errors.Is(err, errAudit) {
			err = r.audit(ctx) // events wait meanwhile, but not for long
		}
		if s.created {
			r.c.reachable.Store(true)
		}
		if time.Since(start) > r.c.cfg.ResyncDelay {
			r.pause = firstPause // it held: the next loss is a new one
		}
		if err != nil {
			return err
		}
		r.at.rev = b.Rev
		if len(b.Changes) > 0 {
			r.send(b)
		}
	}
	return nil
}
