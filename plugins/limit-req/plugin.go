// Package limitreq limits the rate of requests by a leaky bucket for each key.
package limitreq

import (
	_ "embed"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/counter"
	"sluice/plugins/internal/redisx"
)

//go:embed schema.json
var schema string

const name = "limit-req"

// Plugin is limit-req.
var Plugin = plugins.Spec{
	Name:     name,
	Priority: 1001,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Rate             float64 `json:"rate"`
	Burst            float64 `json:"burst"`
	Key              string  `json:"key"`
	KeyType          string  `json:"key_type"`
	Policy           string  `json:"policy"`
	RejectedCode     int     `json:"rejected_code"`
	RejectedMsg      string  `json:"rejected_msg"`
	Nodelay          bool    `json:"nodelay"`
	AllowDegradation bool    `json:"allow_degradation"`
	redisx.Redis
}

type limit struct {
	config
	key      counter.KeyFunc
	prefix   string
	bucket   bucket
	rejected plugins.Reply
}

// bucket lets requests through at a rate.
type bucket interface {
	// enter returns how long the request has to wait, or that it does not fit.
	enter(c *plugins.Ctx, key []byte) (wait time.Duration, fits bool, err error)
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	key, err := counter.NewKey(c.Key, c.KeyType)
	if err != nil {
		return plugins.Phases{}, err
	}
	b, release, err := open(c, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	l := &limit{*c, key, counter.Prefix(env), b, *plugins.Reject(c.RejectedCode, c.RejectedMsg)}
	return plugins.Phases{Access: l.access, Close: release}, nil
}

func (l *limit) access(c *plugins.Ctx) (*plugins.Reply, error) {
	key, ok := l.key(c, append(c.Scratch(), l.prefix...))
	if !ok {
		key = c.Addr.Unmap().AppendTo(key[:len(l.prefix)])
	}
	c.Keep(key)
	wait, fits, err := l.bucket.enter(c, key)
	switch {
	case err != nil && l.AllowDegradation:
		c.Log().Error("failed to limit req: "+err.Error(), "degraded", true)
		return nil, nil
	case err != nil:
		c.Log().Error("failed to limit req: " + err.Error())
		return plugins.Exit(500, nil), nil
	case !fits:
		r := l.rejected
		return &r, nil
	case wait >= time.Millisecond && !l.Nodelay:
		return nil, c.Sleep(wait)
	}
	return nil, nil
}
