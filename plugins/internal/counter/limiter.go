package counter

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/plugins"
)

// Headers are the names of the fields that show a quota.
type Headers struct {
	Limit     string `json:"limit_header"`
	Remaining string `json:"remaining_header"`
	Reset     string `json:"reset_header"`
}

// Limiter applies the quotas of one configuration. Immutable; safe for concurrent use.
type Limiter struct {
	Options
	store  Store
	local  *Local // the store, when it is one
	prefix string
	rules  []rule
	// rejected are the answers that are always the same.
	rejected, failed plugins.Reply
}

// rule is a compiled Rule, or the quota of the configuration itself.
type rule struct {
	count, window *Amount
	key           KeyFunc
	headers       Headers
}

// KeyFunc appends what is counted by; false when it has no value.
type KeyFunc func(c *plugins.Ctx, dst []byte) ([]byte, bool)

// NewLimiter compiles o for the plugin of that name; h are the names of the
// quota fields. release ends the use of the counters.
func NewLimiter(o *Options, env *plugins.Env, plugin string, h Headers) (l *Limiter, release func(), err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	l = &Limiter{Options: *o, prefix: o.prefix(env)}
	if l.rules, err = o.compile(h); err != nil {
		return nil, nil, err
	}
	l.rejected = *plugins.Reject(o.RejectedCode, o.RejectedMsg)
	l.failed = *plugins.Reject(500, "failed to limit count")
	leave, err := o.joinGroup(env, plugin)
	if err != nil {
		return nil, nil, err
	}
	store, closeStore, err := o.open(env, plugin)
	if err != nil {
		leave()
		return nil, nil, err
	}
	l.store = store
	l.local, _ = store.(*Local)
	return l, func() { closeStore(); leave() }, nil
}

func (o *Options) open(env *plugins.Env, plugin string) (Store, func(), error) {
	if o.Policy == "" || o.Policy == "local" {
		s, release := Open(env, plugin)
		return s, release, nil
	}
	remote, release, err := openRemote(env, plugin, o.Policy, &o.Conf)
	if err != nil || o.SyncInterval == -1 {
		return remote, release, err
	}
	every := time.Duration(o.SyncInterval * float64(time.Second))
	d, stop := plugins.Share(env.Shared, "counter/delayed/"+plugin+"/"+o.prefix(env),
		func() *Delayed { return newDelayed(remote, every, env.Now, env.Log) }, (*Delayed).stop)
	return d, func() { stop(); release() }, nil
}

func (o *Options) compile(h Headers) ([]rule, error) {
	if o.Rules == nil {
		key, err := NewKey(o.Key, o.KeyType)
		return []rule{{o.Count, o.TimeWindow, key, h}}, err
	}
	rules := make([]rule, len(o.Rules))
	for i, r := range o.Rules {
		key, err := NewKey(r.Key, "var_combination")
		if err != nil {
			return nil, err
		}
		prefix := r.HeaderPrefix
		if prefix == "" {
			prefix = strconv.Itoa(i + 1)
		}
		rules[i] = rule{r.Count, r.TimeWindow, key, h.with(prefix)}
	}
	return rules, nil
}

// with puts a rule's prefix in: X-RateLimit-Limit becomes X-<prefix>-RateLimit-Limit.
func (h Headers) with(prefix string) Headers {
	put := func(name string) string {
		return strings.Replace(name, "RateLimit-", prefix+"-RateLimit-", 1)
	}
	return Headers{put(h.Limit), put(h.Remaining), put(h.Reset)}
}

// NewKey compiles a key of that key_type: "var", "var_combination" or "constant".
func NewKey(text, kind string) (KeyFunc, error) {
	switch kind {
	case "constant":
		return func(_ *plugins.Ctx, dst []byte) ([]byte, bool) { return append(dst, text...), true }, nil
	case "var_combination":
		t, err := plugins.ParseTemplate(text)
		if err != nil {
			return nil, err
		}
		return func(c *plugins.Ctx, dst []byte) ([]byte, bool) {
			b, n := t.Append(c, dst)
			return b, n > 0
		}, nil
	}
	return KeyFunc(plugins.VariableAppender(text)), nil
}

// quota is a rule as it stands for one request.
type quota struct {
	*rule
	key           []byte
	limit, window int64
}

// Take uses up cost of every quota that applies. The reply is nil when all
// hold. When a quota cannot be made out or counted, that is a failure of ours,
// unless degradation is allowed.
func (l *Limiter) Take(c *plugins.Ctx, cost int64) (*plugins.Reply, error) {
	var fixed [4]quota
	quotas, err := l.resolve(c, fixed[:0])
	if err == nil && len(quotas) == 0 {
		err = errNoRule
	}
	if err != nil {
		c.Log().Error("failed to get rate limit rules", "err", err)
		if l.AllowDegradation {
			return nil, nil
		}
		return plugins.Exit(500, nil), nil
	}
	if l.local == nil {
		c.Leave() // the counters are elsewhere
	}
	if several, ok := l.store.(Several); ok && len(quotas) > 1 {
		return l.takeAll(c, several, quotas, cost), nil
	}
	for i := range quotas {
		if r := l.take(c, &quotas[i], cost); r != nil {
			return r, nil
		}
	}
	return nil, nil
}

// takeAll is take of all quotas in one go.
func (l *Limiter) takeAll(c *plugins.Ctx, store Several, quotas []quota, cost int64) *plugins.Reply {
	takes := make([]Take, len(quotas))
	for i := range quotas {
		takes[i] = Take{Key: quotas[i].key, Quota: l.quota(&quotas[i]), Cost: cost}
	}
	if err := store.TakeAll(c.Context, takes); err != nil {
		return l.fail(c, err)
	}
	for i := range quotas {
		if r := l.answer(c, &quotas[i], takes[i].State); r != nil {
			return r
		}
	}
	return nil
}

var errNoRule = fmt.Errorf("no rule applies")

func (l *Limiter) resolve(c *plugins.Ctx, quotas []quota) ([]quota, error) {
	for i := range l.rules {
		r := &l.rules[i]
		start := len(l.prefix)
		key, ok := r.key(c, append(c.Scratch(), l.prefix...))
		if !ok {
			if l.Rules != nil {
				continue
			}
			key = c.Addr.Unmap().AppendTo(key[:start])
		}
		c.Keep(key)
		limit, err := r.count.Resolve(c)
		if err != nil {
			return nil, err
		}
		window, err := r.window.Resolve(c)
		if err != nil {
			return nil, err
		}
		quotas = append(quotas, quota{r, key, limit, window})
	}
	return quotas, nil
}

// maxWindow is what a Duration holds.
const maxWindow = int64(1<<63-1) / int64(time.Second) / 4

func (l *Limiter) quota(q *quota) Quota {
	return Quota{
		Limit:   q.limit,
		Window:  time.Duration(min(q.window, maxWindow)) * time.Second,
		Sliding: l.WindowType == "sliding",
	}
}

func (l *Limiter) take(c *plugins.Ctx, q *quota, cost int64) *plugins.Reply {
	if l.local != nil && !c.Start.IsZero() && c.Req.ContentLength == 0 {
		// The clock was read already. A client that lets others wait for its body
		// before must not choose the window, though.
		return l.answer(c, q, l.local.TakeAt(c.Start, q.key, l.quota(q), cost))
	}
	s, err := l.store.Take(c.Context, q.key, l.quota(q), cost)
	if err != nil {
		return l.fail(c, err)
	}
	return l.answer(c, q, s)
}

// fail is what follows from a count that could not be made.
func (l *Limiter) fail(c *plugins.Ctx, err error) *plugins.Reply {
	c.Log().Error("failed to limit count", "err", err)
	if l.AllowDegradation {
		return nil
	}
	r := l.failed
	return &r
}

// answer is what follows from where a key stands: a rejection, or nothing.
func (l *Limiter) answer(c *plugins.Ctx, q *quota, s State) *plugins.Reply {
	if s.Rejected {
		s.Left = 0
	}
	l.tell(c, q, s)
	if !s.Rejected {
		return nil
	}
	r := l.rejected
	return &r
}

// tell puts where the client stands into the response, and keeps it for those
// who ask later.
func (l *Limiter) tell(c *plugins.Ctx, q *quota, s State) {
	hundredths := int64(s.Reset / (10 * time.Millisecond))
	if l.ShowQuota {
		h := &c.RespHeader
		h.Set(q.headers.Limit, c.Keep(strconv.AppendInt(c.Scratch(), q.limit, 10)))
		h.Set(q.headers.Remaining, c.Keep(strconv.AppendInt(c.Scratch(), s.Left, 10)))
		h.Set(q.headers.Reset, c.Keep(appendSeconds(c.Scratch(), hundredths)))
	}
	c.RateLimit = plugins.RateLimit{Key: q.key, Limit: q.limit, Remaining: s.Left, Reset: hundredths / 100}
}

// appendSeconds writes hundredths of a second as seconds: 60, 59.9, 0.05.
func appendSeconds(b []byte, hundredths int64) []byte {
	b = strconv.AppendInt(b, hundredths/100, 10)
	rest := hundredths % 100
	if rest == 0 {
		return b
	}
	b = append(b, '.', byte('0'+rest/10))
	if rest%10 != 0 {
		b = append(b, byte('0'+rest%10))
	}
	return b
}
