package limitreq

import (
	"math"
	"strconv"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/keyed"
	"sluice/plugins/internal/redisx"
)

// unit is one request: excess is in thousandths.
const unit = 1000

// forever is longer than anything lasts, in ns: 31 years.
const forever = 1e18

func open(c *config, env *plugins.Env) (bucket, func(), error) {
	rate, burst := c.Rate*unit, c.Burst*unit
	if c.Policy == "local" {
		m, release := plugins.Share(env.Shared, name, keyed.New[level], nil)
		return &local{m, env.Now, rate, burst}, release, nil
	}
	client, release, err := redisx.Open(env, c.Policy, &redisx.Conf{Redis: c.Redis})
	if err != nil {
		return nil, nil, err
	}
	return &remote{client, env.Now, rate, burst,
		strconv.FormatFloat(rate, 'f', -1, 64), strconv.FormatFloat(burst, 'f', -1, 64),
		strconv.FormatInt(int64(min(math.Ceil((burst+unit)/rate), forever/1e9))+1, 10)}, release, nil
}

// level is how full a key's bucket was when a request went in last.
type level struct {
	excess float64
	last   int64 // ns since 1970
}

type local struct {
	levels      *keyed.Map[level]
	now         func() time.Time
	rate, burst float64 // thousandths
}

func (b *local) enter(_ *plugins.Ctx, key []byte) (wait time.Duration, fits bool, err error) {
	now := b.now().UnixNano()
	h := b.levels.Hold(key, now)
	l := h.V
	var excess float64
	if l.last != 0 {
		elapsed := math.Abs(float64(now - l.last))
		excess = max(l.excess-b.rate*elapsed/1e9+unit, 0)
	}
	if fits = excess <= b.burst; fits {
		*l = level{excess, now}
		wait = seconds(excess / b.rate)
	}
	// When the bucket has run dry and one more request has, the key is as good as new.
	h.Done(l.last + int64(min((l.excess+unit)/b.rate*1e9, forever)) + 1)
	return wait, fits, nil
}

// seconds is s as a Duration, an hour at most.
func seconds(s float64) time.Duration { return time.Duration(min(s, 3600) * float64(time.Second)) }

// script fills the bucket. KEYS: the bucket. ARGV: rate and burst in
// thousandths, the time in ms, the life of the bucket in seconds.
// Returns whether the request fits, and the excess.
var script = redisx.NewScript(`
local rate, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'excess', 'last')
local excess = 0
if state[1] and state[2] then
  excess = math.max(tonumber(state[1]) - rate * math.abs(now - tonumber(state[2])) / 1000 + 1000, 0)
  if excess > burst then
    return {0, tostring(excess)}
  end
end
redis.call('HSET', KEYS[1], 'excess', tostring(excess), 'last', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {1, tostring(excess)}`)

type remote struct {
	redis       *redisx.Client
	now         func() time.Time
	rate, burst float64
	// as arguments
	rateText, burstText, life string
}

func (b *remote) enter(c *plugins.Ctx, key []byte) (wait time.Duration, fits bool, err error) {
	now := strconv.FormatFloat(float64(b.now().UnixMicro())/1000, 'f', 3, 64)
	c.Leave()
	r, err := b.redis.Run(c.Context, script, redisx.Call{
		Keys: []string{"limit_req:" + string(key)},
		Args: []string{b.rateText, b.burstText, now, b.life},
	})
	if err != nil {
		return 0, false, err
	}
	allowed, err := r.Int(0)
	if err != nil || allowed == 0 {
		return 0, false, err
	}
	excess, err := r.Float(1)
	return seconds(excess / b.rate), true, err
}
