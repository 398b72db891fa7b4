package limitconn

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/keyed"
	"sluice/plugins/internal/redisx"
)

func open(c *config, env *plugins.Env) (room, func(), error) {
	if c.Policy == "local" {
		m, release := plugins.Share(env.Shared, name, keyed.New[int64], nil)
		return &local{m}, release, nil
	}
	client, release, err := redisx.Open(env, c.Policy, &redisx.Conf{Redis: c.Redis})
	if err != nil {
		return nil, nil, err
	}
	r := &remote{redis: client, now: env.Now, ttl: strconv.Itoa(c.KeyTTL), log: env.Log.Error}
	return r, func() { r.leaving.Wait(); release() }, nil
}

// local counts in the memory of the process.
type local struct{ inside *keyed.Map[int64] }

func (r *local) enter(c *plugins.Ctx, key []byte, limit int64) (s seat, inside int64, ok bool, err error) {
	h := r.inside.Hold(key, 0)
	if ok = *h.V < limit; ok {
		*h.V++
	}
	inside = *h.V
	h.Done(end(inside))
	if ok {
		s.key = key
	}
	return s, inside, ok, nil
}

func (r *local) leave(s seat) error {
	h := r.inside.Hold(s.key, 0)
	*h.V--
	h.Done(end(*h.V))
	return nil
}

// end keeps a count as long as somebody is inside.
func end(inside int64) int64 {
	if inside <= 0 {
		return 0
	}
	return keyed.Never
}

// enterScript counts a request in. KEYS: who is inside, by when they count as
// gone. ARGV: limit, ttl in seconds, the time in seconds, the request.
// Returns whether there was room, and how many are inside.
var enterScript = redisx.NewScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ARGV[3])
local inside = redis.call('ZCARD', KEYS[1])
if inside >= tonumber(ARGV[1]) then
  return {0, inside}
end
redis.call('ZADD', KEYS[1], ARGV[3] + ARGV[2], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {1, inside + 1}`)

var leaveScript = redisx.NewScript(`return {redis.call('ZREM', KEYS[1], ARGV[1])}`)

// remote counts in Redis. A gateway that dies leaves its requests there until
// their time to live is over.
type remote struct {
	redis   *redisx.Client
	now     func() time.Time
	ttl     string
	log     func(string, ...any)
	leaving sync.WaitGroup
}

func (r *remote) enter(c *plugins.Ctx, key []byte, limit int64) (s seat, inside int64, ok bool, err error) {
	s = seat{name: "limit_conn:" + string(key),
		id: strconv.FormatUint(rand.Uint64(), 16) + strconv.FormatUint(rand.Uint64(), 16)}
	c.Leave()
	// The client may go away meanwhile; whether the request counts must still be known.
	result, err := r.redis.Run(context.WithoutCancel(c.Context), enterScript, redisx.Call{
		Keys: []string{s.name},
		Args: []string{strconv.FormatInt(limit, 10), r.ttl, strconv.FormatInt(r.now().Unix(), 10), s.id},
	})
	if err != nil {
		return s, 0, false, err
	}
	allowed, err := result.Int(0)
	if err != nil {
		return s, 0, false, err
	}
	inside, err = result.Int(1)
	return s, inside, allowed == 1, err
}

// leave does not keep the connection waiting for Redis; the client's time-outs
// bound how long it takes, and release waits for it.
func (r *remote) leave(s seat) error {
	r.leaving.Go(func() {
		if _, err := r.redis.Run(context.Background(), leaveScript, redisx.Call{Keys: []string{s.name}, Args: []string{s.id}}); err != nil {
			r.log("failed to record the connection leaving request", "err", err)
		}
	})
	return nil
}
