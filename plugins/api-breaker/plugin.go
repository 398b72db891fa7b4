// Package apibreaker stops forwarding for a while when an upstream fails again and again.
package apibreaker

import (
	_ "embed"
	"slices"
	"strings"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/keyed"
)

//go:embed schema.json
var schema string

const name = "api-breaker"

// Plugin is api-breaker.
var Plugin = plugins.Spec{
	Name:     name,
	Priority: 1005,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Code      int      `json:"break_response_code"`
	Body      *string  `json:"break_response_body"`
	Headers   []header `json:"break_response_headers"`
	MaxSec    int64    `json:"max_breaker_sec"`
	Unhealthy struct {
		Statuses []int `json:"http_statuses"`
		Failures int64 `json:"failures"`
	} `json:"unhealthy"`
	Healthy struct {
		Statuses  []int `json:"http_statuses"`
		Successes int64 `json:"successes"`
	} `json:"healthy"`
}

type header struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	text  *plugins.Template
}

// circuit is what is known of one host and path.
type circuit struct {
	failures, successes int64
	opened              int64 // when it opened last, seconds since 1970; 0: it has not
}

type breaker struct {
	config
	circuits *keyed.Map[circuit]
	now      func() time.Time
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	for i := range c.Headers {
		h := &c.Headers[i]
		var err error
		if h.text, err = plugins.ParseTemplate(h.Value); err != nil {
			return plugins.Phases{}, err
		}
	}
	m, release := plugins.Share(env.Shared, name, keyed.New[circuit], nil)
	b := &breaker{*c, m, env.Now}
	return plugins.Phases{Access: b.access, Log: b.log, Close: release}, nil
}

// key is the host and the path of the request, as the routes of all versions see them.
func key(c *plugins.Ctx) []byte {
	k := append(append(c.Scratch(), c.Var("host")...), c.Path...)
	c.Keep(k)
	return k
}

// open says that the circuit is open at a second: 2 seconds after as many
// failures as are allowed, and twice as long after each further time.
func (b *breaker) open(k *circuit, now int64) bool {
	if k.opened == 0 {
		return false
	}
	rest := b.MaxSec
	if times := max(1, k.failures/b.Unhealthy.Failures); times < 32 {
		rest = min(rest, 1<<times)
	}
	return k.opened+rest >= now
}

func (b *breaker) access(c *plugins.Ctx) (*plugins.Reply, error) {
	now := b.now().Unix()
	k := b.circuits.Get(key(c), now)
	if !b.open(&k, now) {
		return nil, nil
	}
	if b.Body == nil {
		return plugins.Exit(b.Code, nil), nil
	}
	r := plugins.Exit(b.Code, *b.Body)
	for i := range b.Headers {
		add := r.Header.Add
		if strings.EqualFold(b.Headers[i].Key, "Content-Type") { // there is only one; the last counts
			add = r.Header.Set
		}
		add(b.Headers[i].Key, b.Headers[i].text.Render(c))
	}
	return r, nil
}

// end is when k is forgotten: failures stay until successes outweigh them.
func (b *breaker) end(k *circuit) int64 {
	if k.failures == 0 {
		return 0
	}
	return keyed.Never
}

func (b *breaker) log(c *plugins.Ctx) {
	if len(c.Tries) == 0 {
		return
	}
	status := c.Tries[len(c.Tries)-1].Status
	bad := slices.Contains(b.Unhealthy.Statuses, status)
	if !bad && !slices.Contains(b.Healthy.Statuses, status) {
		return
	}
	now := b.now().Unix()
	h := b.circuits.Hold(key(c), now)
	k := h.V
	switch {
	case bad:
		k.failures++
		k.successes = 0
		if k.failures%b.Unhealthy.Failures == 0 {
			k.opened = now
		}
	case k.failures > 0:
		if k.successes++; k.successes >= b.Healthy.Successes {
			*k = circuit{}
		}
	}
	h.Done(b.end(k))
}
