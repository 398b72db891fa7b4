// Package workflow does, for a request, what the first rule that matches it
// says: answer, or limit.
package workflow

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sluice/configcenter/schema"
	"sluice/plugins"
	"sluice/router/expr"
)

//go:embed schema.json
var ownSchema string

// Plugin is workflow.
var Plugin = plugins.Spec{
	Name:     "workflow",
	Priority: 1006,
	Version:  "0.1",
	Schema:   ownSchema,
	New:      plugins.Build(build),
}

type config struct {
	Rules []rule `json:"rules"`
}

type rule struct {
	Case    json.RawMessage     `json:"case"`
	Actions [][]json.RawMessage `json:"actions"`
}

// doers are the plugins that can be actions.
var doers = map[string]bool{"limit-count": true, "limit-conn": true}

type workflow struct {
	rules []step
	close []func()
}

type step struct {
	when *expr.Program[*plugins.Ctx] // nil: always
	action
}

// action is an answer, or the phases of a plugin.
type action struct {
	name   string
	answer *plugins.Reply
	phases plugins.Phases
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	w := &workflow{rules: make([]step, len(c.Rules))}
	logs := false
	for i := range c.Rules {
		if err := w.rules[i].compile(w, &c.Rules[i], i+1, env); err != nil {
			w.release()
			return plugins.Phases{}, err
		}
		logs = logs || w.rules[i].phases.Log != nil
	}
	p := plugins.Phases{Access: w.access, Close: w.release}
	if logs {
		p.Log = w.log
	}
	return p, nil
}

func (w *workflow) release() {
	for _, f := range w.close {
		f()
	}
}

func (s *step) compile(w *workflow, r *rule, place int, env *plugins.Env) error {
	if r.Case != nil {
		p, err := expr.Compile(r.Case, plugins.ExprValue)
		if err != nil {
			return fmt.Errorf("failed to validate the 'case' expression: %w", err)
		}
		s.when = p
	}
	for i, written := range r.Actions {
		a, err := w.compile(written, place, env)
		if err != nil {
			return err
		}
		if i == 0 { // the others are only looked at
			s.action = a
		}
	}
	return nil
}

// compile makes an action of its name and configuration; place is its rule's.
func (w *workflow) compile(written []json.RawMessage, place int, env *plugins.Env) (a action, err error) {
	if err := json.Unmarshal(written[0], &a.name); err != nil {
		return a, fmt.Errorf("unsupported action: %s", written[0])
	}
	conf := json.RawMessage("{}")
	if len(written) > 1 {
		conf = written[1]
	}
	switch {
	case a.name == "return":
		a.answer, err = answer(conf)
	case doers[a.name]:
		a.phases, err = inner(a.name, conf, place, env)
		if err == nil && a.phases.Close != nil {
			w.close = append(w.close, a.phases.Close)
		}
	default:
		return a, fmt.Errorf("unsupported action: %s", a.name)
	}
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), "failed to check the configuration of plugin "+a.name+" err: ")
		return a, fmt.Errorf("failed to validate the '%s' action: %s", a.name, reason)
	}
	return a, nil
}

const answerSchema = `{"type":"object","properties":{"code":{"type":"integer","minimum":100,"maximum":599}},"required":["code"]}`

func answer(conf json.RawMessage) (*plugins.Reply, error) {
	s, err := schema.Compile("workflow/return", answerSchema)
	if err != nil {
		return nil, err
	}
	if conf, err = s.Check(conf); err != nil {
		return nil, err
	}
	var c struct {
		Code json.Number `json:"code"`
	}
	if err := plugins.Decode(conf, &c); err != nil {
		return nil, err
	}
	code, err := c.Code.Float64()
	return plugins.Exit(int(code), plugins.ErrorMsg{ErrorMsg: "rejected by workflow"}), err
}

// inner builds a plugin. The place of the rule becomes a part of its
// configuration, so that two rules that say the same do not share state.
func inner(name string, conf json.RawMessage, place int, env *plugins.Env) (plugins.Phases, error) {
	var members map[string]any
	if err := plugins.Decode(conf, &members); err != nil || members == nil {
		return plugins.Phases{}, fmt.Errorf("invalid plugin conf %s for plugin [%s]", conf, name)
	}
	members["_vid"] = place
	own, err := json.Marshal(members)
	if err != nil {
		return plugins.Phases{}, err
	}
	p, err := env.Build(name, own)
	if err != nil {
		return plugins.Phases{}, err
	}
	if g, _ := members["group"].(string); g != "" {
		if p.Close != nil {
			p.Close()
		}
		return plugins.Phases{}, errors.New("group is not supported")
	}
	return p, nil
}

func (w *workflow) access(c *plugins.Ctx) (*plugins.Reply, error) {
	for i := range w.rules {
		s := &w.rules[i]
		if s.when != nil && !s.when.Eval(c) {
			continue
		}
		if s.name == "" {
			return nil, nil
		}
		if s.answer != nil {
			return s.answer, nil
		}
		c.Skip(s.name)
		if s.phases.Log != nil {
			c.SetValue(w, s)
		}
		if s.phases.Access == nil {
			return nil, nil
		}
		return s.phases.Access(c)
	}
	return nil, nil
}

// log ends what the action began.
func (w *workflow) log(c *plugins.Ctx) {
	if s, ok := c.Value(w).(*step); ok {
		s.phases.Log(c)
	}
}
