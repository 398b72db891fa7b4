package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/gateway/redact"
	"sluice/gateway/tally"
	"sluice/plugins"
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

	book tally.Book // of what the instances do

	apisOnce sync.Once
	apisMade []plugins.API
}

type instanceRef struct {
	*plugins.Instance
	key   string
	refs  int
	inner map[string]json.RawMessage // metadata of the plugins in it
}

// metadata is the metadata of a plugin in a version, defaults filled in, or nil.
type metadata func(plugin string) json.RawMessage

// ingredients are what an instance is made of.
type ingredients struct {
	conf     json.RawMessage // as written: by it the instance is known across versions
	resolved json.RawMessage // the same with its secrets in place: from it the instance is built
	meta     metadata        // of the version
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
	key := identity(owner, name, in.resolved, in.meta(name))
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
	if ref := is.taken(key, from.meta); ref != nil {
		return ref, nil
	}
	ref, err := is.build(owner, name, from, false)
	if err != nil {
		return nil, err
	}
	ref.key, ref.refs = key, 1
	is.mu.Lock()
	is.m[key] = ref // one made with other metadata of the plugins in it goes with its users
	is.mu.Unlock()
	return ref, nil
}

// taken counts one more user of the instance called key, if there is one and
// the metadata of the plugins in it is as it was.
func (is *instances) taken(key string, meta metadata) *instanceRef {
	is.mu.Lock()
	defer is.mu.Unlock()
	ref := is.m[key]
	if ref == nil {
		return nil
	}
	for name, was := range ref.inner {
		if !bytes.Equal(was, meta(name)) {
			return nil
		}
	}
	ref.refs++
	return ref
}

// release gives instances back. Those without users are closed after the grace
// period, unless somebody took them up again.
func (is *instances) release(refs []*instanceRef) {
	var idle []*instanceRef
	is.mu.Lock()
	for _, r := range refs {
		if r.refs--; r.refs == 0 {
			if is.m[r.key] == r {
				delete(is.m, r.key)
			}
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
func (is *instances) build(owner, name string, from ingredients, check bool) (*instanceRef, error) {
	b := &building{is: is, from: from, check: check, inner: map[string]json.RawMessage{}}
	b.secrets = is.secretsOf(name, from.conf, from.resolved, from.meta(name))
	in, err := b.build(owner, name)
	if err != nil {
		for _, u := range b.opened {
			is.upstreams.abandon(u)
		}
		return nil, redact.New(b.secrets).Error(err)
	}
	in.Secrets = redact.New(b.secrets)
	return &instanceRef{Instance: in, inner: b.inner}, nil
}

// building is an instance on its way.
type building struct {
	is      *instances
	from    ingredients
	check   bool // it is only a trial
	opened  []plugins.Upstream
	secrets []string
	inner   map[string]json.RawMessage // metadata of the plugins in it
}

func (b *building) build(owner, name string) (*plugins.Instance, error) {
	is, conf := b.is, b.from.conf
	spec, ok := is.o.Catalog.Spec(name)
	if !ok {
		return nil, &plugins.UnknownError{Name: name}
	}
	m, err := plugins.MetaOf(conf)
	if err != nil {
		return nil, err
	}
	if err := m.FailMode.Check(spec); err != nil {
		return nil, err
	}
	in := &plugins.Instance{Spec: spec, Priority: spec.Priority, ErrorResponse: m.ErrorResponse,
		Open: m.FailMode == plugins.FailOpen, Book: &is.book}
	if m.Priority != nil {
		in.Priority = *m.Priority
	}
	if len(m.Filter) > 0 {
		if in.Filter, err = plugins.Filter(m.Filter); err != nil {
			return nil, err
		}
	}
	env := b.env(owner, name, conf, b.from.meta(name))
	env.Object = b.from.object
	in.Key = env.Key
	if in.Phases, err = spec.Make(b.from.resolved, env); err != nil {
		return nil, err
	}
	if len(b.opened) > 0 {
		stop := in.Phases.Close
		in.Phases.Close = func() {
			if stop != nil {
				stop()
			}
			for _, u := range b.opened {
				is.upstreams.abandon(u)
			}
		}
	}
	if m.PreFunction != "" && !b.check {
		if err := is.precede(in, m.PreFunction, conf); err != nil {
			closeInstance(in)
			b.opened = nil // given back with it
			return nil, err
		}
	}
	return in, nil
}

// secretsOf are the texts that a configuration and its metadata want unseen.
func (is *instances) secretsOf(name string, conf, resolved, meta json.RawMessage) []string {
	c := is.o.Catalog
	return slices.Concat(redact.Differing(conf, resolved), c.Secrets(name, plugins.Conf, resolved), c.Secrets(name, plugins.MetadataPart, meta))
}

// env is what the instance may reach.
func (b *building) env(owner, name string, conf, meta json.RawMessage) *plugins.Env {
	is := b.is
	e := &plugins.Env{
		Key:   identity(owner, name, conf, nil),
		Owner: owner, Name: name,
		Log:      redact.New(b.secrets).Logger(is.o.Log).With("plugin", name, "owner", owner),
		Metadata: meta,
		Shared:   is.o.Shared,
		Now:      is.o.Now,
		Check:    b.check,
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
				b.opened = append(b.opened, u)
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
		meta := b.from.meta(inner)
		b.inner[inner] = meta
		b.secrets = append(b.secrets, is.secretsOf(inner, filled, filled, meta)...)
		own := b.env(owner+"/"+name, inner, filled, meta)
		if same[own.Key]++; same[own.Key] > 1 {
			own.Key += "#" + strconv.Itoa(same[own.Key])
		}
		return spec.Make(filled, own)
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
			b := &building{is: is}
			made, err := spec.NewAPIs(b.env("", name, nil, nil))
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

// keep counts one more user of an instance in use.
func (is *instances) keep(r *instanceRef) {
	is.mu.Lock()
	r.refs++
	is.mu.Unlock()
}
