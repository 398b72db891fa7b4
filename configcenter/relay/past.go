package relay

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Bounds of one look into the past.
const (
	pastEvents = 8192
	pastBytes  = 8 << 20
	nudge      = 25 * time.Millisecond // the cluster says how far it is only when it is there
)

// past reads what happened in a span, from a revision to another one, by a
// watch of its own; to is how far it came. compact is not 0 when the cluster no
// longer knows.
func (s *source) past(ctx context.Context, sp span, prev bool, from, until int64) (bs []batch, to, compact int64, err error) {
	select {
	case s.r.fetching <- struct{}{}:
		defer func() { <-s.r.fetching }()
	case <-ctx.Done():
		return nil, 0, 0, ctx.Err()
	}
	s.r.m.fetches.Inc()
	ctx, cancel := context.WithTimeout(requireLeader(s.r.identity(ctx, s.token)), 4*askTimeout)
	defer cancel()
	out, err := pb.NewWatchClient(s.client.ActiveConnection()).Watch(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	in := sp.within(s.r.cfg.Namespace)
	err = out.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(in.key), RangeEnd: []byte(in.end), StartRevision: from, PrevKv: prev, Fragment: true}}})
	if err != nil {
		_, err = out.Recv()
		return nil, 0, 0, err
	}
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() { // ends before past does
		defer close(ended)
		nudging(ctx, out, stop)
	}()
	defer func() { close(stop); cancel(); <-ended }()
	c := collection{namespace: s.r.cfg.Namespace, from: from, until: until}
	for {
		m, err := out.Recv()
		if err != nil {
			return nil, 0, 0, err
		}
		if m.Canceled {
			if m.CompactRevision > 0 {
				return nil, 0, m.CompactRevision, nil
			}
			return nil, 0, 0, s.refusal(m.CancelReason)
		}
		if done, err := c.take(m); done || err != nil {
			return c.got, c.to, 0, err
		}
	}
}

// nudging asks how far the watch is, again and again.
func nudging(ctx context.Context, out pb.Watch_WatchClient, stop <-chan struct{}) {
	t := time.NewTicker(nudge)
	defer t.Stop()
	for {
		if out.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}) != nil {
			return
		}
		select {
		case <-t.C:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// collection is the events of a look into the past.
type collection struct {
	namespace   string
	from, until int64
	parts       *pb.WatchResponse // not complete
	got         []batch
	to          int64
	events      int
	bytes       int
}

// take adds a response, and says whether that was all that is wanted.
func (c *collection) take(m *pb.WatchResponse) (done bool, err error) {
	if m.Created {
		return false, nil
	}
	if m.WatchId == noWatch {
		if m.Header.Revision < c.until {
			return false, nil // a member that is behind
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
	bs, err := encode(m.Events, c.namespace)
	if err != nil {
		return false, err
	}
	for i := range bs {
		if bs[i].rev > c.until {
			c.to = c.until
			return true, nil
		}
		c.got = append(c.got, bs[i])
		c.events += len(bs[i].events)
		c.bytes += bs[i].bytes
		c.to = bs[i].rev
		if c.to == c.until || c.events > pastEvents || c.bytes > pastBytes {
			return true, nil
		}
	}
	return false, nil
}
