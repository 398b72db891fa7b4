package relay

import (
	"context"
	"math"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// asker asks the same question once for all who have it. Who comes while it is
// being answered gets the next answer: none is older than its question.
type asker[K comparable, V any] struct {
	mu    sync.Mutex
	lines map[K]*line[V]
}

type line[V any] struct{ next *answer[V] }

type answer[V any] struct {
	done chan struct{} // closed when the rest is set
	v    V
	err  error
}

func (a *asker[K, V]) ask(ctx context.Context, r *Relay, key K, f func(context.Context) (V, error)) (V, error) {
	a.mu.Lock()
	if a.lines == nil {
		a.lines = map[K]*line[V]{}
	}
	l := a.lines[key]
	asked := l != nil
	if !asked {
		l = &line[V]{}
		a.lines[key] = l
	}
	if l.next == nil {
		l.next = &answer[V]{done: make(chan struct{})}
	}
	mine := l.next
	a.mu.Unlock()
	if !asked {
		r.runs.Go(func() { a.answer(r.ctx, key, l, f) }) // ends when nobody asks
	}
	select {
	case <-mine.done:
		return mine.v, mine.err
	case <-ctx.Done():
		var zero V
		return zero, ctx.Err()
	}
}

func (a *asker[K, V]) answer(ctx context.Context, key K, l *line[V], f func(context.Context) (V, error)) {
	for {
		a.mu.Lock()
		now := l.next
		l.next = nil
		if now == nil {
			delete(a.lines, key)
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		now.v, now.err = f(ctx)
		cancel()
		close(now.done)
	}
}

// askTimeout bounds one question to the cluster.
const askTimeout = 5 * time.Second

// identity is the context of calls in the name of a client; none when the
// relay asks as itself.
func (r *Relay) identity(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// requireLeader makes members without a leader refuse.
func requireLeader(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}

// revision asks for the present revision, with a key that the asker may read.
// token is empty for the relay itself.
func (r *Relay) revision(ctx context.Context, token, key string) (int64, error) {
	return r.revisions.ask(ctx, r, token, func(ctx context.Context) (int64, error) {
		c := r.client
		if token == "" {
			c = r.own
		}
		resp, err := pb.NewKVClient(c.ActiveConnection()).Range(r.identity(ctx, token), &pb.RangeRequest{Key: []byte(key), CountOnly: true})
		if err != nil {
			return 0, err
		}
		r.note(resp.Header)
		return resp.Header.Revision, nil
	})
}

// permission is a question: may the owner of the token read the span?
type permission struct {
	token string
	span  span
}

// permitted asks the cluster itself whether a client may read the span. The
// question costs nothing there: nothing is of that revision, and who may read
// is looked at before.
func (r *Relay) permitted(ctx context.Context, p permission) error {
	_, err := r.permits.ask(ctx, r, p, func(ctx context.Context) (bool, error) {
		_, err := pb.NewKVClient(r.client.ActiveConnection()).Range(r.identity(ctx, p.token), &pb.RangeRequest{
			Key: []byte(p.span.key), RangeEnd: []byte(p.span.end), Revision: math.MaxInt64, Serializable: true, CountOnly: true, Limit: 1})
		return true, err
	})
	if rpctypes.Error(err) == rpctypes.ErrFutureRev {
		return nil
	}
	return err
}

// persist repeats what fails because the cluster cannot answer now.
func persist(ctx context.Context, f func() error) error {
	var b backoff
	for {
		err := f()
		if err == nil || !passing(err) || !b.pause(ctx) {
			return err
		}
	}
}

// passing says whether an error is about the moment, not about the request.
func passing(err error) bool {
	if rpctypes.Error(err) == rpctypes.ErrAuthOldRevision {
		return false // the client must get a new token
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.Canceled, codes.Aborted, codes.ResourceExhausted:
		return true
	}
	return false
}
