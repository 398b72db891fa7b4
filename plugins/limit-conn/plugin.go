// Package limitconn limits how many requests of a key may be under way at once.
package limitconn

import (
	_ "embed"
	"errors"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/counter"
	"sluice/plugins/internal/redisx"
)

//go:embed schema.json
var schema string

const name = "limit-conn"

// Plugin is limit-conn.
var Plugin = plugins.Spec{
	Name:     name,
	Priority: 1003,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Conn             *counter.Amount `json:"conn"`
	Burst            *counter.Amount `json:"burst"`
	Delay            float64         `json:"default_conn_delay"` // seconds
	OnlyDefaultDelay bool            `json:"only_use_default_delay"`
	Key              string          `json:"key"`
	KeyType          string          `json:"key_type"`
	Rules            []ruleConfig    `json:"rules"`
	Policy           string          `json:"policy"`
	RejectedCode     int             `json:"rejected_code"`
	RejectedMsg      string          `json:"rejected_msg"`
	AllowDegradation bool            `json:"allow_degradation"`
	KeyTTL           int             `json:"key_ttl"` // seconds
	redisx.Redis
}

type ruleConfig struct {
	Conn  *counter.Amount `json:"conn"`
	Burst *counter.Amount `json:"burst"`
	Key   string          `json:"key"`
}

type rule struct {
	conn, burst *counter.Amount
	key         counter.KeyFunc
}

type limit struct {
	config
	prefix   string
	rules    []rule
	room     room
	rejected plugins.Reply
	// unit is how long a request takes, in seconds as float bits: learnt from
	// those that end.
	unit atomic.Uint64
}

// room counts who is inside.
type room interface {
	// enter counts a request in unless limit are inside already. inside counts it, too.
	enter(c *plugins.Ctx, key []byte, limit int64) (s seat, inside int64, ok bool, err error)
	leave(s seat) error
}

// seat is a place taken.
type seat struct {
	key      []byte // of local; the request's memory
	name, id string // of remote
}

// taken is what a request holds until its end.
type taken struct {
	seats []seat
	wait  time.Duration
}

var spare = sync.Pool{New: func() any { return &taken{seats: make([]seat, 0, 1)} }}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	l := &limit{config: *c, prefix: counter.Prefix(env), rejected: *plugins.Reject(c.RejectedCode, c.RejectedMsg)}
	l.unit.Store(math.Float64bits(c.Delay))
	if err := l.compile(); err != nil {
		return plugins.Phases{}, err
	}
	r, release, err := open(c, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	l.room = r
	return plugins.Phases{Access: l.access, Log: l.log, Close: release}, nil
}

func (l *limit) compile() error {
	if l.Rules == nil {
		key, err := counter.NewKey(l.Key, l.KeyType)
		l.rules = []rule{{l.Conn, l.Burst, key}}
		return err
	}
	for _, r := range l.Rules {
		key, err := counter.NewKey(r.Key, "var_combination")
		if err != nil {
			return err
		}
		l.rules = append(l.rules, rule{r.Conn, r.Burst, key})
	}
	return nil
}

var errNoRule = errors.New("no rule applies")

func (l *limit) access(c *plugins.Ctx) (*plugins.Reply, error) {
	applied := 0
	why := errNoRule
	var held *taken
	for i := range l.rules {
		r := &l.rules[i]
		conn, burst, key, err := l.resolve(c, r, i)
		if err != nil {
			why = err
			continue
		}
		if key == nil {
			continue
		}
		applied++
		s, inside, ok, err := l.room.enter(c, key, conn+burst)
		if err != nil {
			return l.fail(c, "failed to limit conn: "+err.Error()), nil
		}
		if !ok {
			rejected := l.rejected
			return &rejected, nil
		}
		if held == nil {
			if held, _ = c.Value(l).(*taken); held == nil {
				held = spare.Get().(*taken)
				c.SetValue(l, held)
			}
		}
		held.seats = append(held.seats, s)
		if inside > conn {
			if err := l.sleep(c, held, (inside-1)/conn); err != nil {
				return nil, err
			}
		}
	}
	if applied == 0 {
		return l.fail(c, "failed to get limit conn rules: "+why.Error()), nil
	}
	return nil, nil
}

// resolve makes out the rule of that index for a request; key is nil when it
// does not apply. Rules do not share their keys.
func (l *limit) resolve(c *plugins.Ctx, r *rule, index int) (conn, burst int64, key []byte, err error) {
	if conn, err = r.conn.Resolve(c); err != nil {
		return 0, 0, nil, err
	}
	if burst, err = r.burst.ResolveZero(c); err != nil {
		return 0, 0, nil, err
	}
	key, ok := r.key(c, append(c.Scratch(), l.prefix...))
	switch {
	case !ok && l.Rules != nil:
		return 0, 0, nil, nil
	case !ok:
		key = c.Addr.Unmap().AppendTo(key[:len(l.prefix)])
	}
	if l.Rules != nil {
		key = strconv.AppendInt(append(key, ':'), int64(index), 10)
	}
	c.Keep(key)
	return conn, burst, key, nil
}

func (l *limit) fail(c *plugins.Ctx, msg string) *plugins.Reply {
	c.Log().Error(msg)
	if l.AllowDegradation {
		return nil
	}
	return plugins.Exit(500, nil)
}

// sleep waits n units unless the client goes away.
func (l *limit) sleep(c *plugins.Ctx, held *taken, n int64) error {
	d := time.Duration(min(math.Float64frombits(l.unit.Load())*float64(n), maxWait) * float64(time.Second))
	if d < time.Millisecond {
		return nil
	}
	held.wait += d
	return c.Sleep(d)
}

// maxWait is the longest delay, in seconds.
const maxWait = 3600

func (l *limit) log(c *plugins.Ctx) {
	held, _ := c.Value(l).(*taken)
	if held == nil {
		return
	}
	for _, s := range held.seats {
		if err := l.room.leave(s); err != nil {
			c.Log().Error("failed to record the connection leaving request: " + err.Error())
		}
	}
	wait := held.wait
	clear(held.seats)
	held.seats, held.wait = held.seats[:0], 0
	c.SetValue(l, nil)
	spare.Put(held)
	if l.OnlyDefaultDelay {
		return
	}
	took := time.Since(c.Start) - wait
	if len(c.Tries) > 0 {
		took = 0
		for i := range c.Tries {
			took += c.Tries[i].Total
		}
	}
	unit := math.Float64frombits(l.unit.Load())
	l.unit.Store(math.Float64bits((unit + max(0, took.Seconds())) / 2))
}
