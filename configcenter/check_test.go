package configcenter

import (
	"strings"
	"testing"

	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// What the Admin API says about bad resources, word for word as APISIX says it.
func TestResourceErrors(t *testing.T) {
	pem := `"` + strings.Repeat("x", 128) + `"`
	active := func(text string) string {
		return `{"uri":"/","upstream":{"nodes":{"a:80":1},"checks":{"active":` + text + `}}}`
	}
	const inActive = `property "upstream" validation failed: property "checks" validation failed: property "active" validation failed: `
	for _, c := range []struct {
		kind      resource.Kind
		doc, want string
	}{
		{resource.Routes, `{"id":"a/b","uri":"/","plugins":{}}`, `property "id" validation failed: object matches none of the required`},
		{resource.Routes, `{"uri":"/"}`, `object matches none of the required: ["plugins","uri"] or ["upstream","uri"] or ["upstream_id","uri"]` +
			` or ["service_id","uri"] or ["plugins","uris"] or ["upstream","uris"] or ["upstream_id","uris"] or ["service_id","uris"]` +
			` or ["script","uri"] or ["script","uris"]`},
		{resource.Routes, `{"uri":"/","uris":["/"],"plugins":{}}`,
			`allOf 1 failed: value should match only one schema, but matches both schemas 1 and 2`},
		{resource.Routes, `{"uri":"/","host":"a","hosts":["a"],"plugins":{}}`,
			`allOf 2 failed: value should match only one schema, but matches both schemas 2 and 3`},
		{resource.Routes, `{"uri":"/","script":"function() end","plugins":{}}`, `value wasn't supposed to match schema`},
		{resource.Routes, `{"uri":"/","plugins":{},"methods":["GETT"]}`,
			`property "methods" validation failed: failed to validate item 1: matches none of the enum values`},
		{resource.Routes, `{"uri":"/","plugins":{},"labels":{"env":["a"]}}`,
			`property "labels" validation failed: failed to validate env (matching ".*"): wrong type: expected string, got table`},
		{resource.Routes, `{"uri":"/","plugins":{},"labels":"x"}`, `property "labels" validation failed: wrong type: expected object, got string`},
		{resource.Routes, `{"uri":"/","plugins":{},"remote_addr":"127.0.0."}`,
			`property "remote_addr" validation failed: object matches none of the required`},
		{resource.Routes, `{"uri":"/","plugins":{},"remote_addrs":["127.0.0.0/8","::1","::/64"]}`, ``},
		{resource.Routes, `{"uri":"/","plugins":{},"name":"` + strings.Repeat("x", 257) + `"}`,
			`property "name" validation failed: string too long, expected at most 256, got 257`},
		{resource.Routes, active(`{"healthy":{"successes":255}}`),
			inActive + `property "healthy" validation failed: property "successes" validation failed: expected 255 to be at most 254`},
		{resource.Routes, active(`{"healthy":{"http_statuses":[200,200]}}`), inActive +
			`property "healthy" validation failed: property "http_statuses" validation failed: expected unique items but items 1 and 2 are equal`},
		{resource.Routes, active(`{"unhealthy":{"http_failures":3.1}}`), inActive +
			`property "unhealthy" validation failed: property "http_failures" validation failed: wrong type: expected integer, got number`},
		{resource.Routes, active(`{"req_headers":["a: b",233]}`),
			inActive + `property "req_headers" validation failed: failed to validate item 2: wrong type: expected string, got number`},
		{resource.Upstreams, `{"nodes":{"a":1},"checks":{}}`,
			`property "checks" validation failed: object matches none of the required: ["active"] or ["active","passive"]`},
		{resource.Upstreams, `{"nodes":{"a":-1}}`, `property "nodes" validation failed: object matches none of the required`},
		{resource.Upstreams, `{}`, `value should match only one schema, but matches none`},
		{resource.Upstreams, `{"nodes":[],"retries":-1}`, `property "retries" validation failed: expected -1 to be at least 0`},
		{resource.Upstreams, `{"nodes":[],"x":1}`, `additional properties forbidden, found x`},
		{resource.Upstreams, `{"nodes":[],"tls":{"client_cert":` + pem + `}}`,
			`property "tls" validation failed: failed to validate dependent schema for "client_cert": property "client_key" is required`},
		{resource.Upstreams, `{"nodes":[],"timeout":{"connect":0,"send":1,"read":1}}`,
			`property "timeout" validation failed: property "connect" validation failed: expected 0 to be greater than 0`},
		{resource.Consumers, `{}`, `property "username" is required`},
		{resource.Credentials, `{"plugins":{"a":{},"b":{}}}`, `property "plugins" validation failed: expect object to have at most 1 properties`},
		{resource.SSLs, `{"cert":` + pem + `,"key":` + pem + `}`, `then clause did not match`},
		{resource.SSLs, `{"type":"client","cert":` + pem + `}`, `else clause did not match`},
		{resource.SSLs, `{"cert":` + pem + `,"key":` + pem + `,"snis":[]}`, `property "snis" validation failed: expect array to have at least 1 items`},
		{resource.SSLs, `{"cert":"$secret://vault/1/a/b","key":"$ENV://KEY","sni":"a.com"}`, ``},
		{resource.PluginConfigs, `{"id":"1"}`, `property "plugins" is required`},
		{resource.StreamRoutes, `{"protocol":{"name":"redis","logger":[{"name":"x"}]}}`,
			`property "protocol" validation failed: property "logger" validation failed: failed to validate item 1: property "conf" is required when "name" is set`},
		{resource.PluginList, `[{"name":""}]`,
			`failed to validate item 1: property "name" validation failed: string too short, expected at least 1, got 0`},
	} {
		doc, err := schema.Decode([]byte(c.doc))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := SchemaOf(c.kind, "").Validate(doc); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind, c.doc, got, c.want)
		}
	}
}

func BenchmarkSchemas(b *testing.B) {
	for b.Loop() {
		for _, info := range resource.Kinds {
			if _, err := schema.Compile(info.Singular, info.Schema); err != nil {
				b.Fatal(err)
			}
		}
	}
}
