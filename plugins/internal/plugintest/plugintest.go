// Package plugintest builds plugins and requests for the tests of plugins: what
// the gateway does between the store and a phase, in a few calls.
//
// It does not know any single plugin.
package plugintest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/configcenter/resource"
	"sluice/gateway/wire"
	"sluice/plugins"
)

// Env is an Env of its own, with the real clock.
func Env() *plugins.Env {
	return &plugins.Env{
		Key: "routes/1/test/0", Owner: "routes/1", Name: "test",
		Log: slog.New(slog.DiscardHandler), Shared: new(plugins.Shared), Now: time.Now,
		Upstream: func(id string, inline *resource.Upstream) (plugins.Upstream, error) {
			return Upstream{id, inline}, nil
		},
		Object: func(resource.Ref) any { return nil },
	}
}

// With lets env build the plugins of reg, for plugins that contain plugins.
func With(env *plugins.Env, reg plugins.Registry) *plugins.Env {
	env.Spec = func(name string) (*plugins.Spec, bool) {
		spec, ok := reg[name]
		return spec, ok
	}
	env.Build = func(name string, conf json.RawMessage) (plugins.Phases, error) {
		spec, ok := reg[name]
		if !ok {
			return plugins.Phases{}, &plugins.UnknownError{Name: name}
		}
		return Try(spec, env, string(conf))
	}
	return env
}

// Upstream is what Env.Upstream of Env yields: what was asked for.
type Upstream struct {
	ID     string
	Inline *resource.Upstream
}

// Def is of plugins.Upstream.
func (u Upstream) Def() *resource.Upstream { return u.Inline }

// Try checks conf against the schema and builds an instance, as the Admin API
// does. Metadata of env is filled in, too.
func Try(spec *plugins.Spec, env *plugins.Env, conf string) (plugins.Phases, error) {
	catalog, _, err := plugins.NewCatalog(plugins.Registry{spec.Name: spec}, []string{spec.Name})
	if err != nil {
		return plugins.Phases{}, err
	}
	filled, err := catalog.Check(spec.Name, json.RawMessage(conf), plugins.Conf)
	if err != nil {
		return plugins.Phases{}, err
	}
	own := *env
	if own.Metadata != nil {
		if own.Metadata, err = catalog.Check(spec.Name, own.Metadata, plugins.MetadataPart); err != nil {
			return plugins.Phases{}, err
		}
	}
	return spec.New(filled, &own)
}

// Build is Try for configurations that are right; the instance is closed when
// the test ends.
func Build(t testing.TB, spec *plugins.Spec, env *plugins.Env, conf string) plugins.Phases {
	t.Helper()
	p, err := Try(spec, env, conf)
	if err != nil {
		t.Fatalf("build %s: %v", spec.Name, err)
	}
	t.Cleanup(func() {
		if p.Close != nil {
			p.Close()
		}
	})
	return p
}

// Request is a request from 127.0.0.1 for target, with header fields given as
// "Name: value". There are no consumers.
func Request(method, target string, fields ...string) *plugins.Ctx {
	return Consumers(nil).Request(method, target, fields...)
}

// Request is Request in a version with these consumers.
func (f Consumers) Request(method, target string, fields ...string) *plugins.Ctx {
	req := &wire.Request{
		Method: method, Target: target, Host: "example.com", Major: 1, Minor: 1, Body: strings.NewReader(""),
		Remote: netip.MustParseAddrPort("127.0.0.1:5000"), Local: netip.MustParseAddrPort("127.0.0.1:9080"),
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	c := new(plugins.Ctx)
	c.Reset(context.Background(), req, f, nil)
	c.Path, c.Query, _ = strings.Cut(target, "?")
	c.Addr, c.Port = req.Remote.Addr(), req.Remote.Port()
	c.Start = time.Now()
	return c
}

// Respond gives c a response with header fields given as "Name: value".
func Respond(c *plugins.Ctx, status int, fields ...string) *wire.Response {
	c.Resp = &wire.Response{Status: status}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		c.Resp.Header.Add(name, strings.TrimSpace(value))
	}
	return c.Resp
}

// Consumers is a Finder over consumers by credential value.
type Consumers map[string]*plugins.Consumer

// Consumer is a consumer of that name.
func Consumer(name, credential string, labels map[string]string) *plugins.Consumer {
	return &plugins.Consumer{
		Def:          &resource.Consumer{Username: name, Meta: resource.Meta{Labels: labels}},
		CredentialID: credential,
	}
}

// FindConsumer is of plugins.Finder.
func (f Consumers) FindConsumer(_, value string) *plugins.Consumer { return f[value] }

// ConsumerNamed is of plugins.Finder.
func (f Consumers) ConsumerNamed(name string) *plugins.Consumer {
	for _, c := range f {
		if c.Def.Username == name {
			return c
		}
	}
	return nil
}

// ConsumersOf is of plugins.Finder.
func (f Consumers) ConsumersOf(string) []*plugins.Consumer {
	var list []*plugins.Consumer
	for _, c := range f {
		list = append(list, c)
	}
	return list
}
