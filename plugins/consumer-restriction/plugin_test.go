package consumerrestriction

import (
	"strings"
	"testing"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// request is one of consumer jack in a group, on a route with a service.
func request(method, user, group string) *plugins.Ctx {
	c := plugintest.Request(method, "/")
	c.Route = &resource.Route{}
	c.Route.ID = "5"
	c.Service = &resource.Service{}
	c.Service.ID = "7"
	c.Route.ServiceID = "7"
	if user != "" {
		c.Consumer = plugintest.Consumer(user, "", nil)
		c.Consumer.Def.GroupID = resource.ID(group)
	}
	return c
}

func TestAccess(t *testing.T) {
	const unknown = "The request is rejected, please check the consumer_name for this request"
	for _, x := range []struct {
		conf, method, user string
		status             int
		message            string
	}{
		{`{"whitelist":["jack"]}`, "GET", "jack", 0, ""},
		{`{"whitelist":["jack"]}`, "GET", "rose", 403, "The consumer_name is forbidden."},
		{`{"whitelist":["jack"]}`, "GET", "Jack", 403, "The consumer_name is forbidden."},
		{`{"whitelist":["jack"]}`, "GET", "", 401, unknown},
		{`{"blacklist":["jack"]}`, "GET", "jack", 403, "The consumer_name is forbidden."},
		{`{"blacklist":["jack"],"rejected_code":402,"rejected_msg":""}`, "GET", "jack", 402, ""},
		{`{"blacklist":["jack"]}`, "GET", "rose", 0, ""},
		{`{"blacklist":["jack"]}`, "GET", "", 401, unknown},
		{`{"blacklist":["jack"],"whitelist":["jack"]}`, "GET", "jack", 403, "The consumer_name is forbidden."},
		{`{"allowed_by_methods":[{"user":"jack","methods":["POST"]}]}`, "GET", "jack", 403, "The consumer_name is forbidden."},
		{`{"allowed_by_methods":[{"user":"jack","methods":["POST"]}]}`, "POST", "jack", 0, ""},
		{`{"allowed_by_methods":[{"user":"jack","methods":["POST"]}]}`, "GET", "rose", 0, ""},
		{`{"allowed_by_methods":[{"user":"jack","methods":["POST"]},{"user":"jack","methods":["GET"]}]}`, "GET", "jack", 403, "The consumer_name is forbidden."},
		{`{"whitelist":["jack"],"allowed_by_methods":[{"user":"jack","methods":["POST"]}]}`, "GET", "jack", 0, ""},
		{`{"whitelist":["jack"],"allowed_by_methods":[{"user":"rose","methods":["GET"]}]}`, "GET", "rose", 403, "The consumer_name is forbidden."},
		{`{"type":"route_id","whitelist":["5"]}`, "GET", "", 0, ""},
		{`{"type":"route_id","blacklist":["5"]}`, "GET", "", 403, "The route_id is forbidden."},
		{`{"type":"service_id","whitelist":["7"]}`, "GET", "", 0, ""},
		{`{"type":"consumer_group_id","whitelist":["g"]}`, "GET", "jack", 0, ""},
		{`{"type":"consumer_group_id","whitelist":["g"]}`, "GET", "", 401, strings.Replace(unknown, "consumer_name", "consumer_group_id", 1)},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
		r, err := p.Access(request(x.method, x.user, "g"))
		switch {
		case err != nil:
			t.Error(err)
		case x.status == 0 && r != nil:
			t.Errorf("%s refuses %q: %+v", x.conf, x.user, r)
		case x.status != 0 && (r == nil || r.Status != x.status || r.Body != (plugins.Message{Message: x.message})):
			t.Errorf("%s answers %q: %+v", x.conf, x.user, r)
		}
	}
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"type":"consumer_group_id","blacklist":["g"]}`)
	if r, err := p.Access(request("GET", "jack", "")); r == nil || r.Status != 401 || err != nil {
		t.Error("a consumer without a group", r, err)
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{}`:                             "matches none of the required",
		`{"whitelist":[]}`:               "expect array to have at least 1 items",
		`{"type":"x","whitelist":["a"]}`: "matches none of the enum values",
		`{"whitelist":["a"],"rejected_code":100}`:                 "expected 100 to be at least 200",
		`{"allowed_by_methods":[{"user":"a","methods":["get"]}]}`: "enum",
	})
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"whitelist":["jack","rose"]}`)
	c := request("GET", "jack", "")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
