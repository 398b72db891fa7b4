package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/router/expr"
)

// instances keeps plugin instances by identity, so that the same configuration
// at the same place is one instance in every version that has it. Instances
// are counted; the last user gives one back to be closed after the grace period.
type instances struct {
	o  *Options
	mu sync.Mutex
	m  map[string]*instanceRef
	// upstreams are for plugins that choose one.
	upstreams *upstreams

	apisOnce sync.Once
	apisMade []plugins.API
}

type instanceRef struct {
	*plugins.Instance
	key  string
	refs int
}

// ingredients are what an instance is made of.
type ingredients struct {
	conf     json.RawMessage // as written: by it the instance is known across versions
	resolved json.RawMessage // the same with its secrets in place: from it the instance is built
	meta     json.RawMessage // the plugin's metadata, or nil
	// objects are those that Spec.Refs names; a missing one is nil.
	objects map[resource.Ref]*configcenter.Item
}

// objectsOf looks the objects up that the plugin names.
func objectsOf(spec *plugins.Spec, conf json.RawMessage, snap *configcenter.Snapshot) map[resource.Ref]*configcenter.Item {
	if spec.Refs == nil {
		return nil
	}
	found := map[resource.Ref]*configcenter.Item{}
	for _, ref := range spec.Refs(conf) {
		found[ref] = snap.Get(ref.Kind, ref.ID)
	}
	return found
}

// key is what makes two instances at the same place the same.
func (in *ingredients) key(owner, name string) string {
	key := identity(owner, name, in.resolved, in.meta)
	refs := slices.SortedFunc(maps.Keys(in.objects), func(a, b resource.Ref) int {
		return cmpStrings(string(a.Kind), string(b.Kind), a.ID, b.ID)
	})
	for _, ref := range refs {
		var raw json.RawMessage
		if item := in.objects[ref]; item != nil {
			raw = item.Raw
		}
		key += identity("#"+string(ref.Kind), ref.ID, raw, nil)
	}
	return key
}

// object is Env.Object over the ingredients.
func (in *ingredients) object(ref resource.Ref) any {
	if item := in.objects[ref]; item != nil {
		return item.Value
	}
	return nil
}

// get returns the instance of plugin name at owner.
func (is *instances) get(owner, name string, from ingredients) (*instanceRef, error) {
	key := from.key(owner, name)
	is.mu.Lock()
	if ref := is.m[key]; ref != nil {
		ref.refs++
		is.mu.Unlock()
		return ref, nil
	}
	is.mu.Unlock()
	in, err := is.build(owner, name, from, false)
	if err != nil {
		return nil, err
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	if ref := is.m[key]; ref != nil { // built meanwhile by another
		ref.refs++
		closeInstance(in)
		return ref, nil
	}
	ref := &instanceRef{Instance: in, key: key, refs: 1}
	is.m[key] = ref
	return ref, nil
}

// release gives instances back. Those without users are closed after the grace
// period, unless somebody took them up again.
func (is *instances) release(refs []*instanceRef) {
	var idle []*instanceRef
	is.mu.Lock()
	for _, r := range refs {
		if r.refs--; r.refs == 0 {
			delete(is.m, r.key)
			idle = append(idle, r)
		}
	}
	is.mu.Unlock()
	if len(idle) == 0 {
		return
	}
	time.AfterFunc(is.o.Grace, func() {
		for _, r := range idle {
			closeInstance(r.Instance)
		}
	})
}

func closeInstance(in *plugins.Instance) {
	if in.Phases.Close != nil {
		in.Phases.Close()
	}
}

// build makes an instance. check says that it is only a trial.
func (is *instances) build(owner, name string, from ingredients, check bool) (*plugins.Instance, error) {
	spec, ok := is.o.Catalog.Spec(name)
	if !ok {
		return nil, &plugins.UnknownError{Name: name}
	}
	m, err := plugins.MetaOf(from.conf)
	if err != nil {
		return nil, err
	}
	in := &plugins.Instance{Spec: spec, Priority: spec.Priority, ErrorResponse: m.ErrorResponse}
	if m.Priority != nil {
		in.Priority = *m.Priority
	}
	if len(m.Filter) > 0 {
		if in.Filter, err = filterFunc(m.Filter); err != nil {
			return nil, err
		}
	}
	var opened []plugins.Upstream
	env := is.env(owner, name, from.conf, from.meta, check, &opened)
	env.Object = from.object
	in.Key = env.Key
	in.Phases, err = spec.New(from.resolved, env)
	abandon := func() {
		for _, u := range opened {
			is.upstreams.abandon(u)
		}
	}
	if err != nil {
		abandon()
		return nil, err
	}
	if len(opened) > 0 {
		stop := in.Phases.Close
		in.Phases.Close = func() {
			if stop != nil {
				stop()
			}
			abandon()
		}
	}
	if m.PreFunction != "" && !check {
		if err := is.precede(in, m.PreFunction, from.conf); err != nil {
			closeInstance(in)
			return nil, err
		}
	}
	return in, nil
}

// env is what the instance may reach. Upstreams it opens are added to opened.
func (is *instances) env(owner, name string, conf, meta json.RawMessage, check bool, opened *[]plugins.Upstream) *plugins.Env {
	e := &plugins.Env{
		Key:   identity(owner, name, conf, nil),
		Owner: owner, Name: name,
		Log:      is.o.Log.With("plugin", name, "owner", owner),
		Metadata: meta,
		Shared:   is.o.Shared,
		Now:      is.o.Now,
		Check:    check,
		Upstream: func(id string, inline *resource.Upstream) (plugins.Upstream, error) {
			key := owner + "#" + name
			if inline != nil { // a plugin may have many: each has a state of its own
				def, err := json.Marshal(inline)
				if err != nil {
					return nil, err
				}
				key = identity(owner, name, def, nil)
			}
			u, err := is.upstreams.forPlugin(key, id, inline)
			if err == nil {
				*opened = append(*opened, u)
			}
			return u, err
		},
		APIs:   is.apis,
		Spec:   is.o.Catalog.Spec,
		Object: func(resource.Ref) any { return nil },
	}
	if is.o.Attr != nil {
		e.Attr = is.o.Attr(name)
	}
	same := map[string]int{} // two actions that are alike keep their counters apart
	e.Build = func(inner string, c json.RawMessage) (plugins.Phases, error) {
		filled, err := is.o.Catalog.Check(inner, c, plugins.Conf)
		if err != nil {
			return plugins.Phases{}, err
		}
		spec, ok := is.o.Catalog.Spec(inner)
		if !ok {
			return plugins.Phases{}, &plugins.UnknownError{Name: inner}
		}
		own := is.env(owner+"/"+name, inner, filled, nil, check, opened)
		if same[own.Key]++; same[own.Key] > 1 {
			own.Key += "#" + strconv.Itoa(same[own.Key])
		}
		return spec.New(filled, own)
	}
	return e
}

// apis are the plugins' APIs, made once.
func (is *instances) apis() []plugins.API {
	is.apisOnce.Do(func() {
		for _, name := range is.o.Catalog.Names() {
			spec, _ := is.o.Catalog.Spec(name)
			is.apisMade = append(is.apisMade, spec.APIs...)
			if spec.NewAPIs == nil {
				continue
			}
			made, err := spec.NewAPIs(is.env("", name, nil, nil, false, nil))
			if err != nil {
				is.o.Log.Error("plugin has no APIs", "plugin", name, "err", err)
			}
			is.apisMade = append(is.apisMade, made...)
		}
	})
	return is.apisMade
}

// identity is what makes two configured plugins the same.
func identity(owner, name string, conf, meta json.RawMessage) string {
	h := sha256.New()
	h.Write(conf)
	if meta != nil {
		h.Write([]byte{0})
		h.Write(meta)
	}
	return owner + "#" + name + "#" + hex.EncodeToString(h.Sum(nil)[:12])
}

// filterFunc compiles _meta.filter.
func filterFunc(rule json.RawMessage) (func(*plugins.Ctx) bool, error) {
	f, err := expr.Compile(rule, plugins.ExprValue)
	if err != nil {
		return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
	}
	return f.Eval, nil
}

// keep counts one more user of an instance in use.
func (is *instances) keep(r *instanceRef) {
	is.mu.Lock()
	r.refs++
	is.mu.Unlock()
}
