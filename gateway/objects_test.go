package gateway_test

import (
	"encoding/json"
	"testing"

	"sluice/configcenter/resource"
	"sluice/plugins"
)

// shower answers with the text of the proto that its configuration names.
func shower(name string) *plugins.Spec {
	type config struct{ ID string }
	ref := func(c *config) resource.Ref { return resource.Ref{Kind: resource.Protos, ID: c.ID} }
	return &plugins.Spec{
		Name: name, Priority: 1, Schema: `{"type":"object"}`,
		Refs: func(conf json.RawMessage) []resource.Ref {
			var c config
			if plugins.Decode(conf, &c) != nil {
				return nil
			}
			return []resource.Ref{ref(&c)}
		},
		New: plugins.Build(func(c *config, env *plugins.Env) (plugins.Phases, error) {
			text := "none"
			if p, ok := env.Object(ref(c)).(*resource.Proto); ok {
				text = p.Content
			}
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) {
				return plugins.Exit(200, text), nil
			}}, nil
		}),
	}
}

// enter finds the consumer that the field User names.
var enter = &plugins.Spec{
	Name: "enter", Priority: 100, Auth: true, ConsumerKey: "key", Schema: `{"type":"object"}`,
	Consumer: `{"type":"object","properties":{"key":{"type":"string"}},"required":["key"]}`,
	New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
		return plugins.Phases{Rewrite: func(c *plugins.Ctx) (*plugins.Reply, error) {
			c.Consumer = c.Find().FindConsumer("enter", c.Req.Header.Get("User"))
			return nil, nil
		}}, nil
	}),
}

// TestObjectsRebuild: what is made of a stored object follows it, wherever it is configured.
func TestObjectsRebuild(t *testing.T) {
	b := start(t, plugins.Registry{"show": shower("show"), "enter": enter})
	expect := func(path, user, want string) {
		t.Helper()
		if _, body, _ := b.get(path, "User", user); body != want {
			t.Errorf("%s %s: %q, want %q", path, user, body, want)
		}
	}
	b.put(resource.Routes, "1", `{"uri":"/route","plugins":{"show":{"ID":"1"}}}`)
	b.put(resource.Services, "1", `{"plugins":{"show":{"ID":"1"}}}`)
	b.put(resource.Routes, "2", `{"uri":"/service","service_id":"1"}`)
	b.put(resource.Consumers, "joe", `{"username":"joe","plugins":{"enter":{"key":"joe"},"show":{"ID":"2"}}}`)
	b.put(resource.Routes, "3", `{"uri":"/consumer","plugins":{"enter":{}}}`)
	expect("/route", "", "none")
	expect("/consumer", "joe", "none")
	for _, text := range []string{"a", "b"} {
		b.put(resource.Protos, "1", `{"content":"`+text+`"}`)
		expect("/route", "", text)
		expect("/service", "", text)
		b.put(resource.Protos, "2", `{"content":"`+text+`2"}`)
		expect("/consumer", "joe", text+"2")
	}
	b.put(resource.GlobalRules, "1", `{"id":"1","plugins":{"show":{"ID":"3"}}}`)
	expect("/nowhere", "", "none")
	b.put(resource.Protos, "3", `{"content":"c"}`)
	expect("/nowhere", "", "c")
	b.put(resource.Protos, "3", `{"content":"d"}`)
	expect("/nowhere", "", "d")
}
