package plugintest

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"sluice/plugins"
)

// At is Env at a time that stands still.
func At(now time.Time) *plugins.Env {
	env := Env()
	env.Now = func() time.Time { return now }
	return env
}

// User is a consumer of that name whose part for spec's plugin is conf, with the
// schema's defaults.
func User(t testing.TB, spec *plugins.Spec, name, conf string) *plugins.Consumer {
	t.Helper()
	catalog, _, err := plugins.NewCatalog(plugins.Registry{spec.Name: spec}, []string{spec.Name})
	if err != nil {
		t.Fatal(err)
	}
	filled, err := catalog.Check(spec.Name, json.RawMessage(conf), plugins.ConsumerPart)
	if err != nil {
		t.Fatal(err)
	}
	c := Consumer(name, "", nil)
	if c.Conf, err = spec.NewConsumer(filled); err != nil {
		t.Fatal(err)
	}
	return c
}

// Authenticate wants an authenticating instance to let c in as consumer, and to
// tell the upstream so; or, when denied is not "", to refuse it with that message
// and challenge.
func Authenticate(t *testing.T, p plugins.Phases, c *plugins.Ctx, consumer, denied, challenge string) {
	t.Helper()
	r, err := p.Rewrite(c)
	if err != nil {
		t.Fatal(err)
	}
	if denied != "" {
		if r == nil || r.Status != 401 || r.Body != (plugins.Message{Message: denied}) || c.Consumer != nil {
			t.Fatalf("reply %+v, consumer %+v", r, c.Consumer)
		}
		if got := c.RespHeader.Get("WWW-Authenticate"); got != challenge {
			t.Errorf("challenge %q", got)
		}
		return
	}
	if r != nil || c.Consumer == nil || c.Consumer.Def.Username != consumer {
		t.Fatalf("reply %+v, consumer %+v", r, c.Consumer)
	}
	if got := c.Req.Header.Values("X-Consumer-Username"); !slices.Equal(got, []string{consumer}) {
		t.Errorf("X-Consumer-Username %q", got)
	}
}
