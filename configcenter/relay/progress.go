package relay

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func progressRequest() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
}

// overtakes takes an answer about progress and says whether such answers may
// come before events, as they do from servers before 3.4.25 and 3.5.8. Those
// answer at once; the others say nothing while there is no watch, which is why
// every stream begins with the question. The caller holds the source's mu.
func (u *upstream) overtakes() bool {
	u.overtaking = u.overtaking || !u.made
	return u.overtaking
}

// ask asks the cluster to say how far the watches are, unless that was done
// just before or the answer is of no use.
func (s *source) ask(every time.Duration) (useful bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil || s.up.overtaking {
		return s.up == nil
	}
	if len(s.up.pending) > 0 || time.Since(s.asked) < every {
		return true
	}
	s.asked = time.Now()
	s.up.asked++
	s.up.send(progressRequest())
	return true
}

// reach has the feed know what happened up to a revision, where the cluster does
// not tell that it has told all.
func (f *feed) reach(ctx context.Context, until int64) {
	select {
	case f.filling <- struct{}{}:
		defer func() { <-f.filling }()
	case <-ctx.Done():
		return
	}
	f.mu.Lock()
	rev, lost := f.rev, f.lost
	f.mu.Unlock()
	if rev >= until {
		return // somebody else has done it
	}
	bs, to, compact, err := f.src.past(ctx, f.span, f.prev, rev+1, until)
	if err != nil || compact > 0 {
		return // the caller asks again
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rev < rev || f.lost != lost || f.closed {
		return // it began anew
	}
	f.append(bs)
	f.rev = max(f.rev, to)
}
