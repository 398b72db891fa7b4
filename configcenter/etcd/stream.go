package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"sluice/configcenter"
)

// stream is one watch of the whole prefix on a gRPC stream of its own. The
// client library's watcher would reconnect silently and then not show that the
// store went back to an older revision.
type stream struct {
	c       *Center
	grpc    etcdserverpb.Watch_WatchClient
	cancel  context.CancelFunc
	in      chan *etcdserverpb.WatchResponse // closed when the stream ended
	ended   error                            // why; valid once in is closed
	cluster uint64
	from    string // the endpoint
	after   int64  // events up to this revision are known
	created bool
	partial []*mvccpb.Event // fragments of a response that is not complete
	audits  <-chan time.Time
	known   *ledger // the reader's, kept up to date
}

// openStream asks for the changes after a version.
func (c *Center) openStream(ctx context.Context, client *clientv3.Client, after version) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := etcdserverpb.NewWatchClient(client.ActiveConnection()).
		Watch(clientv3.WithRequireLeader(ctx), grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("etcd watch: %w", err)
	}
	prefix := c.cfg.Prefix + "/"
	err = w.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{
			Key:      []byte(prefix),
			RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)),
			// Not one later: a server tells nothing about the progress of a
			// watch that starts in the future.
			StartRevision:  after.rev,
			ProgressNotify: true,
			Fragment:       true,
		}}})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("etcd watch: %w", err)
	}
	s := &stream{c: c, grpc: w, cancel: cancel, cluster: after.cluster, from: client.Endpoints()[0], after: after.rev, in: make(chan *etcdserverpb.WatchResponse, 64)}
	go s.receive(ctx)
	return s, nil
}

// receive brings in responses until the stream ends, which close brings about.
func (s *stream) receive(ctx context.Context) {
	defer close(s.in)
	for {
		r, err := s.grpc.Recv()
		if err != nil {
			s.ended = err
			return
		}
		select {
		case s.in <- r:
		case <-ctx.Done():
			s.ended = ctx.Err()
			return
		}
	}
}

// close ends the stream and waits until its goroutine has ended.
func (s *stream) close() {
	s.cancel()
	for range s.in {
	}
}

// next waits for the next batch after revision rev, and gathers what else has
// come in meanwhile. A batch without changes only moves the revision on.
func (s *stream) next(rev int64) (configcenter.Batch, error) {
	out := []configcenter.Batch{{Rev: rev}}
	r, err := s.await()
	if err != nil {
		return out[0], err
	}
	for r != nil { // what came before the end counts; await tells the end
		b, err := s.take(r, out[len(out)-1].Rev)
		if err != nil {
			return out[0], err
		}
		out = append(out, b)
		select {
		case r = <-s.in:
		default:
			r = nil
		}
	}
	return configcenter.Coalesce(out...), nil
}

// await waits for a response. After a silence it asks for a sign of life, and
// a second silence means that the stream is lost: a connection that was cut
// in the middle of the network tells nobody. A server that never answered such
// a question is left to the connection's own keep-alive.
func (s *stream) await() (*etcdserverpb.WatchResponse, error) {
	for asked := false; ; asked = true {
		timer := time.NewTimer(s.c.cfg.HealthTimeout)
		select {
		case r, ok := <-s.in:
			timer.Stop()
			if !ok {
				return nil, fmt.Errorf("etcd watch lost: %w", s.ended)
			}
			return r, nil
		case <-s.audits:
			timer.Stop()
			return nil, errAudit
		case <-timer.C:
		}
		if asked && s.answers() {
			return nil, fmt.Errorf("etcd watch lost: no answer within %v", s.c.cfg.HealthTimeout)
		}
		// A failure to send shows as the end of the stream.
		_ = s.grpc.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
			ProgressRequest: &etcdserverpb.WatchProgressRequest{}}})
	}
}

// answers reports whether the endpoint has ever answered a request for progress.
func (s *stream) answers() bool {
	_, ok := s.c.answering.Load(s.from)
	return ok
}

// toAll is the watch id of an answer to a request for progress.
const toAll = -1

// take turns a response into a batch after revision rev.
func (s *stream) take(r *etcdserverpb.WatchResponse, rev int64) (configcenter.Batch, error) {
	out := configcenter.Batch{Rev: rev}
	switch {
	case r.CompactRevision != 0:
		return out, fmt.Errorf("%w: etcd has compacted revision %d", errReload, rev)
	case r.Canceled:
		return out, fmt.Errorf("etcd watch canceled: %s", orElse(r.CancelReason, "no reason given"))
	case r.Header.GetRevision() != 0 && r.Header.GetRevision() < rev && !r.Fragment && len(r.Events) == 0:
		return out, fmt.Errorf("%w: etcd went back from revision %d to %d", errReload, rev, r.Header.GetRevision())
	case r.Header.GetClusterId() != 0 && r.Header.GetClusterId() != s.cluster:
		return out, fmt.Errorf("%w: another etcd cluster answers than before", errReload)
	case r.Created:
		s.created = true
		return out, nil
	case !s.created:
		return out, errors.New("etcd watch: an answer came before the watch was made")
	}
	if r.Fragment {
		s.partial = append(s.partial, r.Events...)
		return out, nil
	}
	events := append(s.partial, r.Events...)
	s.partial = nil
	if len(events) == 0 {
		// The answer to a request was ahead of events in older servers; only
		// the server's own notification moves the revision on.
		if r.WatchId == toAll {
			s.c.answering.Store(s.from, true)
			return out, nil
		}
		out.Rev = max(rev, r.Header.GetRevision())
		return out, nil
	}
	for _, e := range events {
		if e.Kv.ModRevision <= s.after {
			continue
		}
		out.Rev = max(out.Rev, e.Kv.ModRevision)
		if e.Type == mvccpb.Event_PUT {
			s.known.put(e.Kv)
		} else {
			s.known.drop(e.Kv.Key)
		}
		if o, ok := s.c.event(e); ok {
			out.Changes = append(out.Changes, o)
		}
	}
	return out, nil
}

// event turns an event into a change; false if it is not about an object.
func (c *Center) event(e *mvccpb.Event) (configcenter.Change, bool) {
	if e.Type == mvccpb.Event_PUT {
		return c.parse(e.Kv)
	}
	k, id, ok := c.parseKey(e.Kv.Key)
	return configcenter.Change{Kind: k, ID: id, Mod: e.Kv.ModRevision}, ok
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
