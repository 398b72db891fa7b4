package gateway

import (
	"encoding/json"
	"errors"

	"sluice/plugins"
	"sluice/router"
)

// errNoLua is for configurations with Lua in a gateway that was given none.
var errNoLua = errors.New("lua is not available in this gateway")

// steps makes what the route does with a request: its script's functions, or
// else its plugins.
func (b *routeBuilder) steps() error {
	src := b.r.def.Script
	if src == "" && b.r.service != nil {
		src = b.r.service.Script
	}
	if src == "" {
		return b.plugins()
	}
	if b.o.Lua == nil {
		return errNoLua
	}
	sc, err := b.o.Lua.Script(src, "route#"+string(b.r.def.ID))
	if err != nil {
		return err
	}
	in := &plugins.Instance{Spec: scriptSpec, Key: b.owner + "#script", Phases: sc.Phases(),
		Book: &b.instances.book}
	b.r.uses = []*instanceRef{{Instance: in, refs: 1}}
	b.r.chain = plugins.NewChain([]*plugins.Instance{in}, nil)
	return nil
}

// scriptSpec names scripts where a plugin's name is shown.
var scriptSpec = &plugins.Spec{Name: "script"}

// filterFunc adds the route's filter_func to its other conditions.
func (b *routeBuilder) filterFunc(when func(*router.Input) bool) (func(*router.Input) bool, error) {
	src := b.r.def.FilterFunc
	if src == "" {
		return when, nil
	}
	if b.o.Lua == nil {
		return nil, errNoLua
	}
	f, err := b.o.Lua.Condition(src)
	if err != nil {
		return nil, err
	}
	b.r.filter = f
	return func(in *router.Input) bool {
		return (when == nil || when(in)) && f.Holds(in.Ctx.(*plugins.Ctx))
	}, nil
}

// precede puts _meta.pre_function in front of the instance's phases. What goes
// wrong in it is only logged.
func (is *instances) precede(in *plugins.Instance, src string, conf json.RawMessage) error {
	if is.o.Lua == nil {
		return errNoLua
	}
	f, err := is.o.Lua.PreFunction(src, conf)
	if err != nil {
		return err
	}
	in.Before = func(c *plugins.Ctx, phase string) {
		if err := f.Observe(c, phase); err != nil {
			c.Log().Error("pre_function failed", "plugin", in.Spec.Name, "err", err)
		}
	}
	stop := in.Phases.Close
	in.Phases.Close = func() {
		f.Close()
		if stop != nil {
			stop()
		}
	}
	return nil
}
