package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// renewals carries the keep-alives of all clients of an identity in one stream.
// The cluster is asked only when a client asks, so that a lease lives no longer
// than without a relay.
type renewals struct {
	r     *Relay
	mu    sync.Mutex
	lines map[string]*renewer // by token
}

// renewer is the stream of one identity.
type renewer struct {
	r     *Relay
	token string

	mu      sync.Mutex
	waiting map[int64]*renewal
	queue   []int64 // those of waiting that were not sent on the present stream, in order
	sent    []int64 // those that were
	users   int
	signal  chan struct{} // the queue has something
}

// renewal is a request under way, for all who want that lease to be renewed.
type renewal struct {
	done chan struct{}
	resp *pb.LeaseKeepAliveResponse
	err  error
}

// serve answers a client's keep-alive stream, one request after another.
func (rs *renewals) serve(in grpc.ServerStream) error {
	rn := rs.enter(tokenOf(in.Context()))
	defer rs.exit(rn)
	for {
		q := new(pb.LeaseKeepAliveRequest)
		if err := in.RecvMsg(q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		rs.r.m.keepAlives.Inc()
		resp, err := rn.renew(in.Context(), q.ID)
		if err != nil {
			return err
		}
		if err := in.SendMsg(resp); err != nil {
			return err
		}
	}
}

// enter returns the renewer of an identity, which is there as long as somebody
// uses it.
func (rs *renewals) enter(token string) *renewer {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.lines == nil {
		rs.lines = map[string]*renewer{}
	}
	rn := rs.lines[token]
	if rn == nil {
		rn = &renewer{r: rs.r, token: token, waiting: map[int64]*renewal{}, signal: make(chan struct{}, 1)}
		rs.lines[token] = rn
	}
	rn.users++
	if rn.users == 1 {
		ctx, cancel := context.WithCancel(rs.r.ctx)
		rs.r.runs.Go(func() { defer cancel(); rn.run(ctx, rs) }) // ends with the last user
	}
	return rn
}

func (rs *renewals) exit(rn *renewer) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rn.users--
	if rn.users == 0 {
		delete(rs.lines, rn.token)
		rn.poke()
	}
}

func (rs *renewals) used(rn *renewer) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rn.users > 0
}

func (rn *renewer) poke() {
	select {
	case rn.signal <- struct{}{}:
	default:
	}
}

func (rn *renewer) renew(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	rn.mu.Lock()
	w := rn.waiting[id]
	if w == nil {
		w = &renewal{done: make(chan struct{})}
		rn.waiting[id] = w
		rn.queue = append(rn.queue, id)
		rn.poke()
	}
	rn.mu.Unlock()
	select {
	case <-w.done:
		return w.resp, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run opens a stream when there is something to send, and another one when it
// ends.
func (rn *renewer) run(ctx context.Context, rs *renewals) {
	var b backoff
	for rs.used(rn) && ctx.Err() == nil {
		rn.mu.Lock()
		rn.queue = append(slices.Clone(rn.sent), rn.queue...) // what has no answer is asked again
		rn.sent = nil
		todo := len(rn.queue)
		rn.mu.Unlock()
		if todo == 0 {
			select {
			case <-rn.signal:
			case <-ctx.Done():
			}
			continue
		}
		begun := time.Now()
		err := rn.stream(ctx, rs)
		if err == nil {
			continue
		}
		if !passing(err) && rn.fail(err) {
			continue
		}
		if time.Since(begun) > longestPause {
			b = backoff{}
		}
		b.pause(ctx)
	}
}

// fail answers the request that made the cluster end the stream: the first one
// without an answer, because it answers in order. It says whether there is one.
func (rn *renewer) fail(err error) bool {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if len(rn.sent) == 0 {
		return false
	}
	id := rn.sent[0]
	rn.sent = rn.sent[1:]
	rn.finish(id, nil, err)
	return true
}

func (rn *renewer) finish(id int64, resp *pb.LeaseKeepAliveResponse, err error) {
	if w := rn.waiting[id]; w != nil {
		w.resp, w.err = resp, err
		delete(rn.waiting, id)
		close(w.done)
	}
}

// stream is one stream to the cluster; it ends with it, or without an error
// when nobody uses it.
func (rn *renewer) stream(ctx context.Context, rs *renewals) error {
	ctx, cancel := context.WithCancel(requireLeader(rn.r.identity(ctx, rn.token)))
	defer cancel()
	out, err := pb.NewLeaseClient(rn.r.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- rn.receive(out) }() // ends with ctx; waited for
	for {
		rn.mu.Lock()
		todo := rn.queue
		rn.sent = append(rn.sent, todo...)
		rn.queue = nil
		rn.mu.Unlock()
		for _, id := range todo {
			rn.r.m.renewals.Inc()
			if out.Send(&pb.LeaseKeepAliveRequest{ID: id}) != nil {
				return <-ended
			}
		}
		select {
		case <-rn.signal:
			if !rs.used(rn) {
				cancel()
				<-ended
				return nil
			}
		case err := <-ended:
			return err
		}
	}
}

func (rn *renewer) receive(out pb.Lease_LeaseKeepAliveClient) error {
	for {
		m, err := out.Recv()
		if err != nil {
			return err
		}
		rn.r.note(m.Header)
		rn.mu.Lock()
		rn.sent = slices.DeleteFunc(rn.sent, func(id int64) bool { return id == m.ID })
		rn.finish(m.ID, m, nil)
		rn.mu.Unlock()
	}
}
