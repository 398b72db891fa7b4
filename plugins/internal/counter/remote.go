package counter

import (
	"context"
	"strconv"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/redisx"
)

// Remote is a Store in Redis. The windows of all gateways that use the same
// Redis are the same ones; each use is one round trip and atomic.
type Remote struct {
	redis  *redisx.Client
	plugin string // "plugin-limit-count"
	now    func() time.Time
}

// fixedScript counts in a window that begins with the first use.
// KEYS: the counter. ARGV: the window in seconds, the cost.
// Returns the count and the rest of the window in ms.
var fixedScript = redisx.NewScript(`
local rest = redis.call('PTTL', KEYS[1])
if rest < 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[1])
  return {tonumber(ARGV[2]), ARGV[1] * 1000}
end
return {redis.call('INCRBY', KEYS[1], ARGV[2]), rest}`)

// slidingScript counts what fits.
// KEYS: the counters of this window and of the one before. ARGV: cost, limit,
// the window and the rest of it in seconds, how long the counter is kept,
// whether to count what does not fit, too.
// Returns whether it fitted, this window's count and the last one's.
var slidingScript = redisx.NewScript(`
local cost, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local last = math.min(tonumber(redis.call('GET', KEYS[2]) or 0), limit)
local used = tonumber(redis.call('GET', KEYS[1]) or 0)
if ARGV[6] == '0' and (used >= limit or last / ARGV[3] * ARGV[4] + used >= limit) then
  return {0, used, last}
end
used = redis.call('INCRBY', KEYS[1], cost)
if used == cost then
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
return {1, used, last}`)

func openRemote(env *plugins.Env, plugin, policy string, conf *redisx.Conf) (*Remote, func(), error) {
	client, release, err := redisx.Open(env, policy, conf)
	if err != nil {
		return nil, nil, err
	}
	return &Remote{redis: client, plugin: "plugin-" + plugin, now: env.Now}, release, nil
}

// Take is of Store.
func (r *Remote) Take(ctx context.Context, key []byte, q Quota, cost int64) (State, error) {
	u := r.use(key, q, cost, false)
	result, err := r.redis.Run(ctx, u.script(), u.call)
	if err != nil {
		return State{}, err
	}
	return u.state(result)
}

// use is one use on its way.
type use struct {
	quota Quota
	rest  time.Duration // of a sliding window
	call  redisx.Call
}

func (u *use) script() *redisx.Script {
	if u.quota.Sliding {
		return slidingScript
	}
	return fixedScript
}

// use prepares the script's arguments. always counts also what does not fit.
func (r *Remote) use(key []byte, q Quota, cost int64, always bool) use {
	window := strconv.FormatInt(int64(q.Window/time.Second), 10)
	if !q.Sliding {
		return use{quota: q, call: redisx.Call{
			Keys: []string{r.plugin + ":v1:" + string(key)},
			Args: []string{window, strconv.FormatInt(cost, 10)},
		}}
	}
	now := r.now().UnixNano()
	index, rest := now/int64(q.Window), q.Window-time.Duration(now%int64(q.Window))
	name := r.plugin + ":" + string(key)
	if r.redis.Cluster() {
		name = "{" + name + "}" // both counters on one server
	}
	counted := "0"
	if always {
		counted = "1"
	}
	return use{q, rest, redisx.Call{
		Keys: []string{name + "." + strconv.FormatInt(index, 10) + ".counter",
			name + "." + strconv.FormatInt(index-1, 10) + ".counter"},
		Args: []string{strconv.FormatInt(cost, 10), strconv.FormatInt(q.Limit, 10), window,
			strconv.FormatFloat(rest.Seconds(), 'f', 6, 64),
			strconv.FormatInt(2*int64(q.Window/time.Second), 10), counted},
	}}
}

// state reads what the script returned.
func (u *use) state(r redisx.Result) (State, error) {
	if !u.quota.Sliding {
		used, err := r.Int(0)
		if err != nil {
			return State{}, err
		}
		rest, err := r.Int(1)
		return State{Rejected: used > u.quota.Limit, Left: u.quota.Limit - used,
			Reset: time.Duration(rest) * time.Millisecond}, err
	}
	fits, err := r.Int(0)
	if err != nil {
		return State{}, err
	}
	used, err := r.Int(1)
	if err != nil {
		return State{}, err
	}
	last, err := r.Int(2)
	c := cell{used: used}
	if fits == 0 {
		return State{Rejected: true, Reset: c.wait(u.quota, float64(last), int64(u.rest))}, err
	}
	return State{Left: c.left(u.quota, float64(last), int64(u.rest)), Reset: u.rest}, err
}
