package relay

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/relay/keys"
)

// Bounds of the cache.
const (
	cacheEntries = 2048
	cacheBytes   = 128 << 20
	cacheLinger  = time.Minute      // what nobody reads for so long is dropped
	cacheTrial   = 10 * time.Second // what is read twice in this time is kept
	permitLasts  = time.Second      // how long a permission is taken for granted
)

// cache has the answers to serializable reads, which may be old. They are not
// older than what watchers know: a feed tells when they are no longer true.
// Reads that must be of now go to the cluster, always.
type cache struct {
	r *Relay

	mu      sync.Mutex
	entries map[cacheKey]*cached
	tried   map[cacheKey]time.Time
	loading map[*loading]struct{}
	bytes   int

	seen atomic.Int64 // the newest revision in an answer
}

// cacheKey is a read, and by whose watch it is kept true.
type cacheKey struct{ source, request string }

type cached struct {
	span    span
	feed    *feed // held
	rev     int64 // it was true then
	lost    int64 // the feed's losses before it was read
	body    []byte
	used    time.Time
	permits map[string]time.Time // when the cluster last said that the owner of a token may read it
}

// loading is an answer on its way.
type loading struct {
	span  span
	stale bool // it was written to meanwhile
}

func newCache(r *Relay) *cache {
	return &cache{r: r, entries: map[cacheKey]*cached{}, tried: map[cacheKey]time.Time{}, loading: map[*loading]struct{}{}}
}

// getRange answers a Range.
func (r *Relay) getRange(in grpc.ServerStream) error {
	q := new(pb.RangeRequest)
	if err := in.RecvMsg(q); err != nil {
		return err
	}
	a, err := r.cache.get(in.Context(), q)
	if err != nil {
		return err
	}
	return in.SendMsg(a)
}

// get answers a read, with what is to be sent.
func (c *cache) get(ctx context.Context, q *pb.RangeRequest) (any, error) {
	if !q.Serializable || q.Revision != 0 || len(q.Key) == 0 {
		return c.pass(ctx, q)
	}
	token := tokenOf(ctx)
	request, err := proto.MarshalOptions{Deterministic: true}.Marshal(q)
	if err != nil {
		return nil, err
	}
	key := cacheKey{token, string(request)}
	if c.r.own != c.r.client {
		key.source = ""
	}
	if body, rev := c.find(ctx, key, token); body != nil {
		c.r.m.cacheHits.Inc()
		return newFrame(beginning(c.r.head(rev)), body), nil
	}
	c.r.m.cacheMisses.Inc()
	if !c.again(key) {
		return c.pass(ctx, q)
	}
	return c.load(ctx, q, key, token)
}

// pass asks the cluster. What it says is looked into only when there is reason to.
func (c *cache) pass(ctx context.Context, q *pb.RangeRequest) (any, error) {
	if c.r.cfg.Namespace == "" && !c.r.cfg.Ordered {
		a := new(frame)
		return a, c.r.call(ctx, pb.KV_Range_FullMethodName, q, a)
	}
	return c.ask(ctx, q)
}

func (c *cache) ask(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	n := keys.Names{Prefix: c.r.cfg.Namespace}
	if n.Prefix != "" {
		q = proto.Clone(q).(*pb.RangeRequest)
		if err := n.Read(q); err != nil {
			return nil, err
		}
	}
	a := new(pb.RangeResponse)
	if err := c.r.call(ctx, pb.KV_Range_FullMethodName, q, a); err != nil {
		return nil, err
	}
	if c.r.cfg.Ordered && q.Serializable && a.Header.GetRevision() < c.seen.Load() {
		q = proto.Clone(q).(*pb.RangeRequest)
		q.Serializable = false // a member that is behind: the others know more
		proto.Reset(a)
		if err := c.r.call(ctx, pb.KV_Range_FullMethodName, q, a); err != nil {
			return nil, err
		}
	}
	c.saw(a.Header.GetRevision())
	n.ReadOut(a)
	return a, nil
}

func (c *cache) saw(rev int64) {
	for {
		seen := c.seen.Load()
		if rev <= seen || c.seen.CompareAndSwap(seen, rev) {
			return
		}
	}
}

// find returns an answer that is still true, and when it was.
func (c *cache) find(ctx context.Context, key cacheKey, token string) (body []byte, rev int64) {
	c.mu.Lock()
	e := c.entries[key]
	var asked time.Time
	if e != nil {
		e.used = time.Now()
		asked = e.permits[token]
	}
	c.mu.Unlock()
	if e == nil {
		return nil, 0
	}
	if time.Since(asked) > permitLasts {
		if c.r.permitted(ctx, permission{token, e.span.within(c.r.cfg.Namespace)}) != nil {
			return nil, 0 // the cluster tells the client why
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != e {
		return nil, 0
	}
	if time.Since(asked) > permitLasts {
		maps.DeleteFunc(e.permits, func(_ string, at time.Time) bool { return time.Since(at) > permitLasts })
		e.permits[token] = time.Now()
	}
	changed, now, ok := e.feed.changed(e.span, e.rev, e.lost)
	if changed || !ok || !e.feed.followed() {
		c.drop(key)
		return nil, 0
	}
	e.rev = max(e.rev, now)
	return e.body, e.rev
}

// again says whether the same was asked just before.
func (c *cache) again(key cacheKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.tried[key]
	if len(c.tried) > cacheEntries {
		clear(c.tried)
	}
	c.tried[key] = time.Now()
	return ok && time.Since(at) < cacheTrial
}

// load asks the cluster, and keeps the answer when a feed can tell how long it
// is true.
func (c *cache) load(ctx context.Context, q *pb.RangeRequest, key cacheKey, token string) (any, error) {
	sp := span{string(q.Key), string(q.RangeEnd)}
	rev, err := c.r.revision(ctx, key.source, sp.within(c.r.cfg.Namespace).key)
	if err != nil || sp.empty() {
		return c.pass(ctx, q)
	}
	f := c.r.feed(token, sp, false, rev)
	lost := f.losses()
	l := &loading{span: sp}
	c.mu.Lock()
	c.loading[l] = struct{}{}
	c.mu.Unlock()
	a, err := c.ask(ctx, q)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.loading, l)
	if err != nil {
		f.release()
		return nil, err
	}
	h := a.Header
	a.Header = nil
	body, err := proto.Marshal(a)
	a.Header = h
	if err != nil || l.stale || len(body) > cacheBytes/8 || len(c.entries) >= cacheEntries || c.bytes+len(body) > cacheBytes {
		f.release()
		return a, err
	}
	if c.entries[key] != nil {
		c.drop(key)
	}
	c.bytes += len(body)
	c.entries[key] = &cached{span: sp, feed: f, rev: h.GetRevision(), lost: lost, body: body, used: time.Now(), permits: map[string]time.Time{token: time.Now()}}
	c.r.m.cacheKeys.Set(float64(len(c.entries)))
	return a, nil
}

// drop removes an entry; the caller holds mu.
func (c *cache) drop(key cacheKey) {
	e := c.entries[key]
	delete(c.entries, key)
	c.bytes -= len(e.body)
	e.feed.release()
	c.r.m.cacheKeys.Set(float64(len(c.entries)))
}

// sweep drops what nobody reads, and what is no longer true.
func (c *cache) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		changed, _, ok := e.feed.changed(e.span, e.rev, e.lost)
		if changed || !ok || time.Since(e.used) > cacheLinger {
			c.drop(key)
		}
	}
	maps.DeleteFunc(c.tried, func(_ cacheKey, at time.Time) bool { return time.Since(at) > cacheTrial })
}

// wrote drops what a write through the relay has changed: who writes shall read
// what it wrote.
func (c *cache) wrote(spans []span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sp := range spans {
		for key, e := range c.entries {
			if e.span.meets(sp) {
				c.drop(key)
			}
		}
		for l := range c.loading {
			l.stale = l.stale || l.span.meets(sp)
		}
	}
}

// busy says whether writes must be looked into.
func (c *cache) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)+len(c.loading) > 0
}

// written are the ranges that a request may change.
func written(q proto.Message) (spans []span) {
	switch q := q.(type) {
	case *pb.PutRequest:
		return []span{{key: string(q.Key)}}
	case *pb.DeleteRangeRequest:
		return []span{{string(q.Key), string(q.RangeEnd)}}
	case *pb.TxnRequest:
		for _, ops := range [][]*pb.RequestOp{q.Success, q.Failure} {
			for _, op := range ops {
				switch u := op.Request.(type) {
				case *pb.RequestOp_RequestPut:
					spans = append(spans, written(u.RequestPut)...)
				case *pb.RequestOp_RequestDeleteRange:
					spans = append(spans, written(u.RequestDeleteRange)...)
				case *pb.RequestOp_RequestTxn:
					spans = append(spans, written(u.RequestTxn)...)
				}
			}
		}
	}
	return spans
}

// forwardWrite carries a write to the cluster and tells the cache.
func (r *Relay) forwardWrite(in grpc.ServerStream, method string, q proto.Message) error {
	var raw, a frame
	if err := in.RecvMsg(&raw); err != nil {
		return err
	}
	var spans []span
	if r.cache.busy() {
		if err := proto.Unmarshal(raw.bytes(), q); err != nil {
			return err
		}
		spans = written(q)
	}
	err := r.call(in.Context(), method, &raw, &a)
	r.cache.wrote(spans) // also when it failed: it may be written nevertheless
	if err != nil {
		return err
	}
	return in.SendMsg(&a)
}

// beginning is a header as the first field of a response, encoded.
func beginning(h *pb.ResponseHeader) []byte {
	size := proto.Size(h)
	b := make([]byte, 0, size+24)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, h)
	if err != nil {
		panic("a response header cannot be encoded: " + err.Error()) // it has only numbers
	}
	return b
}
