package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Bounds of one look into the past.
const (
	pastEvents = 8192
	pastBytes  = 8 << 20
	nudge      = 25 * time.Millisecond // the cluster says how far it is only when it is there
)

// past reads what happened in a span, from a revision to another one, by a
// watch of its own; to is how far it came. compact is not 0 when the cluster no
// longer knows, or does not tell this identity.
func (s *source) past(ctx context.Context, sp span, prev bool, from, until int64) (bs []batch, to, compact int64, err error) {
	if until <= 1 {
		return nil, until, 0, nil // the first revision is that of the empty store
	}
	select {
	case s.r.fetching <- struct{}{}:
		defer func() { <-s.r.fetching }()
	case <-ctx.Done():
		return nil, 0, 0, ctx.Err()
	}
	s.r.m.fetches.Inc()
	ctx, cancel := context.WithTimeout(requireLeader(s.r.identity(ctx, s.token)), 4*askTimeout)
	defer cancel()
	c := &collection{in: sp.within(s.r.cfg.Namespace), namespace: s.r.cfg.Namespace, from: from, until: until}
	compact, err = s.look(ctx, c, prev)
	if errors.Is(err, errOvertaking) {
		c.all = true
		compact, err = s.look(ctx, c, prev)
	}
	if err != nil || compact > 0 {
		return nil, 0, compact, err
	}
	return c.got, c.to, 0, nil
}

// errOvertaking says that a member's answers about progress may come before
// events.
var errOvertaking = errors.New("the member's answers about progress are of no use")

// look fills the collection. Such a member cannot say when a watch has told the
// past: there all keys are watched, of which every revision has an event.
func (s *source) look(ctx context.Context, c *collection, prev bool) (compact int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	out, err := pb.NewWatchClient(s.client.ActiveConnection()).Watch(ctx)
	if err != nil {
		cancel()
		return 0, err
	}
	var nudges sync.WaitGroup
	defer nudges.Wait()
	defer cancel()
	q := &pb.WatchCreateRequest{Key: []byte(c.in.key), RangeEnd: []byte(c.in.end), StartRevision: c.from, PrevKv: prev, Fragment: true}
	if c.all {
		q.Key, q.RangeEnd = []byte(open), []byte(open)
	}
	err = out.Send(progressRequest())
	if err == nil {
		err = out.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
	}
	for err == nil {
		var m *pb.WatchResponse
		if m, err = out.Recv(); err != nil {
			break
		}
		switch {
		case m.Canceled && m.CompactRevision > 0:
			return m.CompactRevision, nil
		case m.Canceled && c.all && m.CancelReason == rpctypes.ErrGRPCPermissionDenied.Error():
			return c.until + 1, nil // who may not know has to load anew
		case m.Canceled:
			return 0, s.refusal(m.CancelReason)
		case m.Created && !c.all:
			nudges.Go(func() { nudging(ctx, out) })
		case m.WatchId == noWatch && !c.all && !c.made:
			return 0, errOvertaking
		}
		c.made = c.made || m.Created
		if done, err := c.take(m); done || err != nil {
			return 0, err
		}
	}
	if errors.Is(err, io.EOF) {
		_, err = out.Recv() // tells why sending failed
	}
	return 0, err
}

// nudging asks how far the watch is, again and again, until ctx ends.
func nudging(ctx context.Context, out pb.Watch_WatchClient) {
	t := time.NewTicker(nudge)
	defer t.Stop()
	for {
		if out.Send(progressRequest()) != nil {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// collection is the events of a look into the past.
type collection struct {
	in          span // as the cluster sees it
	namespace   string
	from, until int64
	all         bool              // all keys are watched: the others' events count the revisions
	made        bool              // the watch is there
	parts       *pb.WatchResponse // not complete
	got         []batch
	to          int64
	events      int // looked at, also those of other keys
	bytes       int
}

// take adds a response, and says whether that was all that is wanted.
func (c *collection) take(m *pb.WatchResponse) (done bool, err error) {
	if m.Created {
		return false, nil
	}
	if m.WatchId == noWatch {
		if c.all || m.Header.Revision < c.until {
			return false, nil // of no use, or a member that is behind
		}
		c.to = c.until
		return true, nil
	}
	if c.parts != nil {
		m.Events = append(c.parts.Events, m.Events...)
		c.parts = nil
	}
	if m.Fragment {
		c.parts = m
		return false, nil
	}
	if len(m.Events) == 0 {
		return false, nil
	}
	last := m.Events[len(m.Events)-1].Kv.ModRevision
	c.events += len(m.Events)
	if c.all {
		m.Events = slices.DeleteFunc(m.Events, func(e *mvccpb.Event) bool { return !c.in.has(e.Kv.Key) })
	}
	bs, err := encode(m.Events, c.namespace)
	if err != nil {
		return false, err
	}
	for i := range bs {
		if bs[i].rev > c.until {
			break
		}
		c.got = append(c.got, bs[i])
		c.bytes += bs[i].bytes
	}
	c.to = min(last, c.until)
	return c.to == c.until || c.events > pastEvents || c.bytes > pastBytes, nil
}
