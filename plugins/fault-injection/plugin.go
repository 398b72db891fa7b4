// Package faultinjection delays requests or answers them with a fault, to try
// out what clients make of it.
package faultinjection

import (
	_ "embed"
	"encoding/json"
	"math/rand/v2"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/headerop"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

// Plugin is fault-injection.
var Plugin = plugins.Spec{
	Name:     "fault-injection",
	Priority: 11000,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Abort *abort `json:"abort"`
	Delay *delay `json:"delay"`
}

type abort struct {
	condition
	Status  int             `json:"http_status"`
	Body    *string         `json:"body"`
	Headers headerop.Fields `json:"headers"`
}

type delay struct {
	condition
	Duration float64 `json:"duration"` // seconds
}

// condition says which requests are met.
type condition struct {
	Percentage *int              `json:"percentage"`
	Vars       []json.RawMessage `json:"vars"`
	any        []*expr.Program[*plugins.Ctx]
}

func (w *condition) compile() error {
	for _, v := range w.Vars {
		p, err := expr.Compile(v, plugins.ExprValue)
		if err != nil {
			return err
		}
		w.any = append(w.any, p)
	}
	return nil
}

func (w *condition) meets(c *plugins.Ctx) bool {
	if w.Percentage != nil && rand.IntN(100) >= *w.Percentage {
		return false
	}
	for _, p := range w.any {
		if p.Eval(c) {
			return true
		}
	}
	return w.Vars == nil
}

type fault struct {
	config
	wait    time.Duration
	body    *plugins.Template // nil: none
	headers headerop.Operations
	fixed   *plugins.Reply // when the body has no variables
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	f := &fault{config: *c}
	if a := c.Abort; a != nil {
		if err := f.compile(a); err != nil {
			return plugins.Phases{}, err
		}
	}
	if d := c.Delay; d != nil {
		f.wait = time.Duration(min(d.Duration, maxDelay) * float64(time.Second))
		if err := d.compile(); err != nil {
			return plugins.Phases{}, err
		}
	}
	return plugins.Phases{Rewrite: f.rewrite}, nil
}

// maxDelay keeps a duration in the range of its type; seconds.
const maxDelay = 1e9

func (f *fault) compile(a *abort) (err error) {
	if err = a.condition.compile(); err != nil {
		return err
	}
	if err = f.headers.Set(a.Headers); err != nil {
		return err
	}
	f.fixed = plugins.Exit(a.Status, nil)
	if a.Body == nil {
		return nil
	}
	if f.body, err = plugins.ParseTemplate(*a.Body); err != nil {
		return err
	}
	if f.body.HasVars() {
		f.fixed = nil
	} else {
		f.fixed.Body = *a.Body
	}
	return nil
}

func (f *fault) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if f.Delay != nil && f.Delay.meets(c) {
		if err := c.Sleep(f.wait); err != nil {
			return nil, err
		}
	}
	if f.Abort == nil || !f.Abort.meets(c) {
		return nil, nil
	}
	f.headers.Apply(c, &c.RespHeader, nil)
	if f.fixed != nil {
		return f.fixed, nil
	}
	return plugins.Exit(f.Abort.Status, f.body.Render(c)), nil
}
