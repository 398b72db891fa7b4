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

// fixedScript counts in windows that begin with the first use, until one of
// them is full.
// KEYS: the counters. ARGV, for each: the window in seconds, the cost, the limit.
// Returns for each, as far as it came, the count and the rest of the window in ms.
var fixedScript = redisx.NewScript(`
local out = {}
for i, key in ipairs(KEYS) do
  local window, cost, limit = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local used, rest = cost, redis.call('PTTL', key)
  if rest < 0 then
    rest = window * 1000
    redis.call('SET', key, cost, 'EX', window)
  else
    used = redis.call('INCRBY', key, cost)
  end
  out[2 * i - 1], out[2 * i] = used, rest
  if used > limit then
    break
  end
end
return out`)

// slidingScript counts what fits, until something does not.
// KEYS, for each: the counters of this window and of the one before. ARGV, for
// each: cost, limit, the window and the rest of it in seconds, how long the
// counter is kept, whether to count what does not fit, too.
// Returns for each, as far as it came, whether it fitted, this window's count
// and the last one's.
var slidingScript = redisx.NewScript(`
local out = {}
for i = 1, #KEYS / 2 do
  local key, a = KEYS[2 * i - 1], 6 * i - 6
  local cost, limit = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local last = math.min(tonumber(redis.call('GET', KEYS[2 * i]) or 0), limit)
  local used, fits = tonumber(redis.call('GET', key) or 0), 1
  if ARGV[a + 6] == '0' and (used >= limit or last / ARGV[a + 3] * ARGV[a + 4] + used >= limit) then
    fits = 0
  else
    used = redis.call('INCRBY', key, cost)
    if used == cost then
      redis.call('EXPIRE', key, ARGV[a + 5])
    end
  end
  out[3 * i - 2], out[3 * i - 1], out[3 * i] = fits, used, last
  if fits == 0 then
    break
  end
end
return out`)

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

// TakeAll is of Several: one round trip, unless the keys may be on several
// servers of a cluster.
func (r *Remote) TakeAll(ctx context.Context, takes []Take) error {
	if r.redis.Cluster() {
		return takeEach(ctx, r, takes)
	}
	uses := make([]use, len(takes))
	var all redisx.Call
	for i := range takes {
		t := &takes[i]
		uses[i] = r.use(t.Key, t.Quota, t.Cost, false)
		all.Keys = append(all.Keys, uses[i].call.Keys...)
		all.Args = append(all.Args, uses[i].call.Args...)
	}
	result, err := r.redis.Run(ctx, uses[0].script(), all)
	for i := range takes {
		if err != nil {
			return err
		}
		u, t := &uses[i], &takes[i]
		n := u.results()
		if t.State, err = u.state(result[:min(n, len(result))]); err == nil && t.State.Rejected {
			return nil
		}
		result = result[min(n, len(result)):]
	}
	return err
}

// results is how many numbers the script returns for a use.
func (u *use) results() int {
	if u.quota.Sliding {
		return 3
	}
	return 2
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
			Args: []string{window, strconv.FormatInt(cost, 10), strconv.FormatInt(q.Limit, 10)},
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
