package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
	"sluice/configcenter/secret"
	"sluice/plugins"
)

// ring is the default keyring of APISIX.
var ring = newRing()

func newRing() *secret.Keyring {
	k, err := secret.NewKeyring([]string{"qeddd145sfvddff3", "edd1c9f0985e76a2"})
	if err != nil {
		panic(err)
	}
	return k
}

// enc is the ciphertext of text in quotes, as it stands in JSON.
func enc(text string) string { return `"` + ring.Encrypt(text) + `"` }

const keyConsumer = `{"type":"object","required":["key"],"properties":{"key":{"type":"string"}},"encrypt_fields":["key"],"title":"work with consumer object"}`

var registry = plugins.Registry{
	"limit-count": {Name: "limit-count", Priority: 1002, Version: "0.4",
		Schema: `{"type":"object","required":["count"],"properties":{"count":{"type":"integer","minimum":1},"policy":{"type":"string","default":"local"}}}`},
	"key-auth": {Name: "key-auth", Priority: 2500, Version: "0.1", Auth: true, ConsumerKey: "key",
		Schema: `{"type":"object","properties":{"header":{"type":"string","default":"apikey"}}}`, Consumer: keyConsumer},
	"basic-auth": {Name: "basic-auth", Priority: 2520, Auth: true, Schema: `{"type":"object","properties":{}}`,
		Consumer: `{"type":"object","required":["username"],"properties":{"username":{"type":"string"},"password":{"type":"string"}},"encrypt_fields":["password"]}`},
	"http-logger": {Name: "http-logger", Priority: 410, Schema: `{"type":"object","properties":{"auth":{"type":"string"},"list":{"type":"array"}},"encrypt_fields":["auth","list.token"]}`,
		Metadata: `{"type":"object","properties":{"log_format":{"type":"object"},"pass":{"type":"string"}},"encrypt_fields":["pass"]}`},
	"traffic-split":  {Name: "traffic-split", Priority: 966, Schema: `{"type":"object","properties":{}}`},
	"grpc-transcode": {Name: "grpc-transcode", Priority: 506, Schema: `{"type":"object","properties":{}}`},
	"off":            {Name: "off", Priority: 1, Schema: `{"type":"object"}`, Metadata: `{"type":"object","required":["n"]}`},
	"server-info":    {Name: "server-info", Priority: 990, Global: true, Schema: `{"type":"object"}`},
}

var streamRegistry = plugins.Registry{
	"mqtt-proxy": {Name: "mqtt-proxy", Priority: 1000, Schema: `{"type":"object","required":["protocol_name"],"properties":{"protocol_name":{"type":"string"}}}`},
}

// server is a Handler over a fake store, and what tests need to speak to it.
type server struct {
	*testing.T
	h     http.Handler
	store *fakeStore
	now   time.Time
}

func catalogs(t *testing.T) func() (Plugins, Plugins) {
	t.Helper()
	enabled := []string{"limit-count", "key-auth", "basic-auth", "http-logger", "traffic-split", "grpc-transcode", "server-info"}
	a, missing, err := plugins.NewCatalog(registry, enabled)
	if err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	b, _, err := plugins.NewCatalog(streamRegistry, []string{"mqtt-proxy"})
	if err != nil {
		t.Fatal(err)
	}
	return func() (Plugins, Plugins) { return a, b }
}

func start(t *testing.T, change ...func(*Options)) *server {
	t.Helper()
	s := &server{T: t, store: &fakeStore{}, now: time.Unix(1700000000, 0)}
	o := Options{Store: s.store, Registry: registry, Keyring: ring, EncryptFields: true, CORS: true,
		StreamMode: true, Protocols: []string{"redis"}, Now: func() time.Time { return s.now }, Plugins: catalogs(t)}
	for _, f := range change {
		f(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.h = h
	return s
}

// send speaks to the API; the path stands below /apisix/admin unless it starts with "//".
func (s *server) send(method, path, body string, head ...string) *httptest.ResponseRecorder {
	s.Helper()
	path, whole := strings.CutPrefix(path, "//")
	if whole {
		path = "/" + path
	} else {
		path = root + path
	}
	var b *strings.Reader
	r := httptest.NewRequest(method, path, nil)
	if body != "" {
		b = strings.NewReader(body)
		r = httptest.NewRequest(method, path, b)
	}
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w
}

// must sends and fails the test on another status.
func (s *server) must(code int, method, path, body string) object {
	s.Helper()
	w := s.send(method, path, body)
	if w.Code != code {
		s.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, code)
	}
	v, _ := schema.Decode(w.Body.Bytes())
	o, _ := v.(object)
	return o
}

// step is one exchange; want is the exact body, or with "~" in front a part of it.
type step struct {
	method, path, body string
	code               int
	want               string
}

func (s *server) run(steps []step) {
	s.Helper()
	for _, st := range steps {
		w := s.send(st.method, st.path, st.body)
		got := strings.TrimSuffix(w.Body.String(), "\n")
		ok := got == st.want
		if part, contains := strings.CutPrefix(st.want, "~"); contains {
			ok = strings.Contains(got, part)
		}
		if w.Code != st.code || !ok {
			s.Errorf("%s %s %.300s\n got %d %s\nwant %d %s", st.method, st.path, st.body, w.Code, got, st.code, st.want)
		}
	}
}

func errMsg(text string) string {
	b, _ := encode(object{"error_msg": text})
	return string(b)
}

const route1 = `{"uri":"/a","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:80":1}}}`

func TestRouteLifecycle(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"PUT", "/routes/1", route1, 201, `{"key":"/apisix/routes/1","value":{"create_time":1700000000,"id":"1","update_time":1700000000,"upstream":{"nodes":{"127.0.0.1:80":1},"type":"roundrobin"},"uri":"/a"}}`},
		{"GET", "/routes/1", "", 200, `{"createdIndex":1,"key":"/apisix/routes/1","modifiedIndex":1,"value":{"create_time":1700000000,"id":"1","update_time":1700000000,"upstream":{"nodes":{"127.0.0.1:80":1},"type":"roundrobin"},"uri":"/a"}}`},
	})
	s.now = s.now.Add(time.Minute)
	s.run([]step{
		{"PUT", "/routes", `{"id":1,"uri":"/b","upstream_id":"9"}`, 400, errMsg("failed to fetch upstream info by upstream id [9], response code: 404")},
		{"PUT", "/routes", `{"id":1,"uri":"/b","plugins":{}}`, 200, `{"key":"/apisix/routes/1","value":{"create_time":1700000000,"id":1,"plugins":{},"update_time":1700000060,"uri":"/b"}}`},
		{"PATCH", "/routes/1", `{"name":"n","plugins":{"limit-count":{"count":2}}}`, 200, `~"plugins":{"limit-count":{"count":2}}`},
		{"PATCH", "/routes/1/plugins/limit-count/count", `3`, 200, `~"count":3`},
		{"PATCH", "/routes/1/uri/x", `3`, 400, errMsg("invalid sub-path: /uri")},
		{"PATCH", "/routes/1", `{"name":null}`, 200, `~"id":"1","plugins"`},
		{"PATCH", "/routes/1", `{"id":"2"}`, 400, errMsg("wrong route id")},
		{"PATCH", "/routes/1", `{"update_time":1,"create_time":2}`, 200, `~"create_time":2`},
		{"PATCH", "/routes/1", "", 400, errMsg("missing new configuration")},
		{"PATCH", "/routes/1", `"x"`, 400, errMsg("invalid configuration")},
		{"PATCH", "/routes/404", `{}`, 404, `{"message":"Key not found"}`},
		{"PATCH", "/routes", `{}`, 400, errMsg("missing route id")},
		{"DELETE", "/routes/1", "", 200, `{"deleted":"1","key":"/apisix/routes/1"}`},
		{"DELETE", "/routes/1", "", 404, `{"message":"Key not found"}`},
		{"DELETE", "/routes", "", 400, errMsg("missing route id")},
		{"GET", "/routes/1", "", 404, `{"message":"Key not found"}`},
		{"GET", "/routes", "", 200, `{"list":[],"total":0}`},
	})
	s.run([]step{
		{"POST", "/routes", route1, 201, `~"key":"/apisix/routes/000000000000000000`},
		{"POST", "/routes", `{"id":"1"}`, 400, errMsg("wrong route id, do not need it")},
		{"POST", "/routes/1", route1, 400, errMsg("wrong route id, do not need it")},
		{"POST", "/routes", "", 400, errMsg("missing configurations")},
		{"PUT", "/routes", route1, 400, errMsg("missing route id")},
		{"PUT", "/routes/1", `{"id":"2"}`, 400, errMsg("wrong route id")},
		{"PUT", "/routes/1", `{"create_time":1}`, 400, errMsg("the property is forbidden:  create_time")},
		{"PUT", "/routes/1", `{"upstream":{"update_time":1}}`, 400, errMsg("the property is forbidden:  upstream.update_time")},
		{"PUT", "/routes/1", `{"plugins":{"create_time":1}}`, 400, errMsg("the property is forbidden:  plugins.create_time")},
		{"PUT", "/routes/1?ttl=x", route1, 400, errMsg("invalid argument ttl: should be a number")},
		{"PUT", "/routes/1?ttl=5", route1, 201, `~"key"`},
	})
	if s.store.ttl != 5 {
		t.Errorf("ttl %d reached the store, want 5", s.store.ttl)
	}
}

func TestRouteMessages(t *testing.T) {
	s := start(t, func(o *Options) {
		o.Vars = func(b []byte) error {
			if strings.Contains(string(b), `"="`) {
				return errors.New("invalid operator '='")
			}
			return nil
		}
	})
	for _, c := range []struct{ body, want string }{
		{`{"uri":"/a","host":"a","hosts":["b"],"plugins":{}}`, "only one of host or hosts is allowed"},
		{`{"uri":"/a","remote_addr":"1.1.1.1","remote_addrs":["1.1.1.2"],"plugins":{}}`, "only one of remote_addr or remote_addrs is allowed"},
		{`{"uri":1,"plugins":{}}`, `invalid configuration: property "uri" validation failed: wrong type: expected string, got number`},
		{`{"uri":"/a","service_id":"5"}`, "failed to fetch service info by service id [5], response code: 404"},
		{`{"uri":"/a","plugins":{},"plugin_config_id":"5"}`, "failed to fetch plugin config info by plugin config id [5], response code: 404"},
		{`{"uri":"/a","plugins":{"nope":{}}}`, "unknown plugin [nope]"},
		{`{"uri":"/a","plugins":{"limit-count":"x"}}`, `invalid plugin conf "x" for plugin [limit-count]`},
		{`{"uri":"/a","plugins":{"limit-count":{}}}`, `failed to check the configuration of plugin limit-count err: property "count" is required`},
		{`{"uri":"/a","plugins":{"limit-count":{"count":1,"_meta":{"filter":[["a","=","b"]]}}}}`, "failed to validate the 'vars' expression: invalid operator '='"},
		{`{"uri":"/a","plugins":{"limit-count":{"count":1,"_meta":{"pre_function":"return ("}}}}`, "~failed to load _meta.pre_function in plugin limit-count: "},
		{`{"uri":"/a","plugins":{},"vars":[["arg_a","=","b"]]}`, "failed to validate the 'vars' expression: invalid operator '='"},
		{`{"uri":"/a","plugins":{},"filter_func":"function(vars) "}`, `failed to load 'filter_func' string: [string "return function(vars) "]:1: 'end' expected near '<eof>'`},
		{`{"uri":"/a","plugins":{},"filter_func":"function(a) end and 1 "}`, "'filter_func' should be a function"},
		{`{"uri":"/a","script":"local x = (","upstream":{"nodes":{"a:1":1}}}`, "~failed to load 'script' string: "},
		{`{"uri":"/a","script":"local core = require('apisix.core')","upstream":{"nodes":{"a:1":1}}}`, "'script' should be a Lua object"},
		{`{"uri":"/a","script":"local x = 1 return x","upstream":{"nodes":{"a:1":1}}}`, "'script' should be a Lua object"},
	} {
		w := s.send("PUT", "/routes/1", c.body)
		var got struct {
			Msg string `json:"error_msg"`
		}
		_ = json.Unmarshal(w.Body.Bytes(), &got)
		part, contains := strings.CutPrefix(c.want, "~")
		if w.Code != 400 || got.Msg != c.want && !(contains && strings.Contains(got.Msg, part)) {
			t.Errorf("%s\n got %d %s\nwant %s", c.body, w.Code, got.Msg, c.want)
		}
	}
	s.must(201, "PUT", "/routes/1", `{"uri":"/a","plugins":{"limit-count":{"count":"x","_meta":{"disable":true}}}}`)
	s.must(200, "PUT", "/routes/1", `{"uri":"/a","script":"local _M = {} function _M.access() ngx.say(1) end return _M","upstream":{"nodes":{"a:1":1}}}`)
	s.must(200, "PUT", "/routes/1", `{"uri":"/a","script":"local core = require('apisix.core') return {}","upstream":{"nodes":{"a:1":1}}}`)
	s.must(200, "PUT", "/routes/1", `{"uri":"/a","plugins":{},"filter_func":"function(vars) return vars.arg_a == 'x' end"}`)
}

func TestUpstreamMessages(t *testing.T) {
	s := start(t)
	s.must(201, "PUT", "/ssls/srv", sslBody("server"))
	s.run([]step{
		{"PUT", "/upstreams/1", `{"nodes":[{"host":"::1","port":80,"weight":1}]}`, 400, errMsg("invalid configuration: IPv6 address must be enclosed with '[' and ']'")},
		{"PUT", "/upstreams/1", `{"nodes":{"127.0.0.1:65536":1}}`, 400, errMsg("invalid port 65536")},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"pass_host":"rewrite"}`, 400, errMsg("`upstream_host` can't be empty when `pass_host` is `rewrite`")},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"tls":{"client_cert_id":"9"}}`, 400, errMsg("failed to fetch ssl info by ssl id [9], response code: 404")},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"tls":{"client_cert_id":"srv"}}`, 400, errMsg("failed to fetch ssl info by ssl id [srv], wrong ssl type")},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash"}`, 400, errMsg("missing key")},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","key":"not_support"}`, 400, errMsg(`invalid configuration: failed to match pattern "` + inspect.HashVars + `" with "not_support"`)},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","hash_on":"header","key":"$#^@"}`, 400, errMsg(`invalid configuration: failed to match pattern "` + inspect.HashHeader + `" with "$#^@"`)},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"type":"chash","hash_on":"consumer"}`, 201, `~/apisix/upstreams/1`},
		{"PUT", "/upstreams/1", `{"nodes":{"a:1":1},"x":1}`, 400, errMsg("invalid configuration: additional properties forbidden, found x")},
	})
	body, _ := encode(object{"nodes": object{"a:1": 1}, "tls": object{"client_cert": strings.Repeat("x", 200), "client_key": testKey}})
	s.run([]step{{"PUT", "/upstreams/2", string(body), 400, errMsg("failed to parse cert: PEM_read_bio_X509_AUX() failed")}})
	body, _ = encode(object{"nodes": object{"a:1": 1}, "tls": object{"client_cert": testCert, "client_key": testKey}})
	got := s.must(201, "PUT", "/upstreams/2", string(body))["value"].(object)["tls"].(object)["client_key"].(string)
	if got != ring.Encrypt(testKey) {
		t.Errorf("client_key is stored as %.20q", got)
	}
	s.must(200, "PATCH", "/upstreams/2", `{"retries":1}`) // the encrypted key passes the check
}

func TestUsedObjectsStay(t *testing.T) {
	s := start(t)
	split := `{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream_id":2}]}]}}`
	for _, o := range [][2]string{
		{"/upstreams/1", `{"nodes":{"a:1":1}}`}, {"/upstreams/2", `{"nodes":{"a:1":1}}`}, {"/upstreams/3", `{"nodes":{"a:1":1}}`},
		{"/services/1", `{"upstream_id":"3"}`}, {"/services/2", `{}`}, {"/plugin_configs/1", `{"plugins":{}}`},
		{"/consumer_groups/1", `{"plugins":{}}`}, {"/protos/1", `{"content":"syntax = \"proto3\"; message A {}"}`},
	} {
		s.must(201, "PUT", o[0], o[1])
	}
	s.must(201, "PUT", "/routes/1", `{"uri":"/a","upstream_id":1,"service_id":"1","plugin_config_id":"1","plugins":`+split+`}`)
	s.must(201, "PUT", "/routes/2", `{"uri":"/b","service_id":"1","plugins":{"grpc-transcode":{"proto_id":"1"}}}`)
	s.must(201, "PUT", "/consumers", `{"username":"jack","group_id":"1"}`)
	s.must(201, "PUT", "/stream_routes/1", `{"service_id":"2","protocol":{"name":"redis"}}`)
	s.must(201, "PUT", "/stream_routes/2", `{"protocol":{"name":"redis","superior_id":"1"}}`)
	s.run([]step{
		{"DELETE", "/upstreams/1", "", 400, errMsg("can not delete this upstream, route [1] is still using it now")},
		{"DELETE", "/upstreams/2", "", 400, errMsg("can not delete this upstream, plugin in route [1] is still using it now")},
		{"DELETE", "/upstreams/3", "", 400, errMsg("can not delete this upstream, service [1] is still using it now")},
		{"DELETE", "/services/1", "", 400, errMsg("can not delete this service directly, route [1] is still using it now")},
		{"DELETE", "/services/2", "", 400, errMsg("can not delete this service directly, stream_route [1] is still using it now")},
		{"DELETE", "/plugin_configs/1", "", 400, errMsg("can not delete this plugin config, route [1] is still using it now")},
		{"DELETE", "/consumer_groups/1", "", 400, errMsg("can not delete this consumer group, consumer [jack] is still using it now")},
		{"DELETE", "/protos/1", "", 400, errMsg("can not delete this proto, route [2] is still using it now")},
		{"DELETE", "/stream_routes/1", "", 400, errMsg("can not delete this stream route directly, stream route [2] is still using it as superior_id")},
		{"DELETE", "/upstreams/1?force=true", "", 200, `{"deleted":"1","key":"/apisix/upstreams/1"}`},
		{"DELETE", "/routes/1", "", 200, `~deleted`},
		{"DELETE", "/upstreams/2", "", 200, `~deleted`},
		{"DELETE", "/plugin_configs/1", "", 200, `~deleted`},
	})
	for _, in := range []struct{ path, word, body string }{
		{"/services/9", "service", `{"plugins":` + split + `}`},
		{"/plugin_configs/9", "plugin_config", `{"plugins":` + split + `}`},
		{"/consumers/9", "consumer", `{"username":"9","plugins":` + split + `}`},
		{"/consumer_groups/9", "consumer_group", `{"plugins":` + split + `}`},
		{"/global_rules/9", "global_rules", `{"plugins":` + split + `}`},
	} {
		s.must(201, "PUT", in.path, in.body)
		s.run([]step{{"DELETE", "/upstreams/2", "", 400, errMsg("can not delete this upstream, plugin in " + in.word + " [9] is still using it now")},
			{"DELETE", in.path, "", 200, "~deleted"}})
	}
}

func TestConsumers(t *testing.T) {
	s := start(t)
	alice := `{"username":"alice","plugins":{"key-auth":{"key":"k1"}}}`
	s.run([]step{
		{"PUT", "/consumers", `{"username":"alice","plugins":{"key-auth":{"key":"k1"}}}`, 201, `{"key":"/apisix/consumers/alice","value":{"create_time":1700000000,"plugins":{"key-auth":{"key":` + enc("k1") + `}},"update_time":1700000000,"username":"alice"}}`},
		{"PUT", "/consumers/alice", alice, 200, `~` + enc("k1")},
		{"GET", "/consumers/alice", "", 200, `~{"key-auth":{"key":"k1"}}`},
		{"GET", "/consumers", "", 200, `~{"key-auth":{"key":"k1"}}`},
		{"PUT", "/consumers/bob", alice, 400, errMsg("wrong username")},
		{"PUT", "/consumers", `{}`, 400, errMsg(`invalid configuration: property "username" is required`)},
		{"PUT", "/consumers", `{"username":"bob","group_id":"9"}`, 400, errMsg("failed to fetch consumer group info by consumer group id [9], response code: 404")},
		{"PUT", "/consumers", `{"username":"bob","plugins":{"key-auth":{}}}`, 400, errMsg(`invalid plugins configuration: failed to check the configuration of plugin key-auth err: property "key" is required`)},
		{"PUT", "/consumers", `{"username":"bob","plugins":{"nope":{}}}`, 400, errMsg("invalid plugins configuration: unknown plugin [nope]")},
		{"PUT", "/consumers", `{"username":"bob","plugins":{"key-auth":{"key":"k1"}}}`, 400, errMsg("duplicate key of plugin key-auth found with consumer: alice")},
		{"PUT", "/consumers", `{"username":"bob","plugins":{"key-auth":{"key":"$secret://vault/1/x"}}}`, 201, `~bob`},
		{"POST", "/consumers", `{}`, 405, errMsg("not supported `POST` method for consumer")},
		{"PATCH", "/consumers/bob", `{}`, 405, errMsg("not supported `PATCH` method for consumer")},

		{"PUT", "/consumers/alice/credentials/c1", `{"plugins":{"key-auth":{"key":"k2"}}}`, 201, `{"key":"/apisix/consumers/alice/credentials/c1","value":{"create_time":1700000000,"id":"c1","plugins":{"key-auth":{"key":` + enc("k2") + `}},"update_time":1700000000}}`},
		{"PUT", "/consumers/alice/credentials/c1", `{"plugins":{"key-auth":{"key":"k2"}}}`, 200, `~c1`},
		{"PUT", "/consumers/alice/credentials", `{"plugins":{"key-auth":{"key":"k3"}}}`, 400, errMsg("missing credential id")},
		{"PUT", "/consumers/nobody/credentials/c1", `{"plugins":{"key-auth":{"key":"k4"}}}`, 404, errMsg("consumer not found")},
		{"PUT", "/consumers/alice/credentials/c2", `{"plugins":{"limit-count":{"count":1}}}`, 400, errMsg("only supports auth type plugins in consumer credential")},
		{"PUT", "/consumers/alice/credentials/c2", `{"plugins":{"key-auth":{"key":"k2"}}}`, 400, errMsg("duplicate key of plugin key-auth found with credential: c1 of consumer: alice")},
		{"PUT", "/consumers/bob", `{"username":"bob","plugins":{"key-auth":{"key":"k2"}}}`, 400, errMsg("duplicate key of plugin key-auth found with credential: c1 of consumer: alice")},
		{"POST", "/consumers/alice/credentials", `{}`, 405, errMsg("not supported `POST` method for credential")},
		{"GET", "/consumers/alice/credentials", "", 200, `~"key":"k2"`},
		{"GET", "/consumers/alice/credentials/c1", "", 200, `~"key":"k2"`},
		{"GET", "/consumers/bob/credentials", "", 404, `{"message":"Key not found"}`},
		{"GET", "/consumers", "", 200, `~"total":2`},
		{"DELETE", "/consumers/alice/credentials", "", 400, errMsg("missing credential id")},
		{"DELETE", "/consumers/alice", "", 200, `{"deleted":"1","key":"/apisix/consumers/alice"}`},
		{"GET", "/consumers/alice/credentials/c1", "", 404, `{"message":"Key not found"}`},
	})
}

func TestOtherKinds(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"PUT", "/global_rules/1", `{"plugins":{"limit-count":{"count":1}}}`, 201, `{"key":"/apisix/global_rules/1","value":{"create_time":1700000000,"id":"1","plugins":{"limit-count":{"count":1}},"update_time":1700000000}}`},
		{"PUT", "/global_rules/2", `{"plugins":{"limit-count":{"count":1}}}`, 400, errMsg("plugin 'limit-count' already exists in global rule with id '1'")},
		{"PUT", "/global_rules/1", `{}`, 400, errMsg(`invalid configuration: property "plugins" is required`)},
		{"POST", "/global_rules", `{}`, 405, errMsg("not supported `POST` method for global rule")},
		{"POST", "/plugin_configs", `{}`, 405, errMsg("not supported `POST` method for plugin config")},
		{"POST", "/consumer_groups", `{}`, 405, errMsg("not supported `POST` method for consumer group")},
		{"POST", "/secrets/vault", `{}`, 405, errMsg("not supported `POST` method for secret")},
		{"PATCH", "/protos/1", `{}`, 405, errMsg("not supported `PATCH` method for proto")},
		{"PATCH", "/stream_routes/1", `{}`, 405, errMsg("not supported `PATCH` method for stream route")},
		{"POST", "/plugin_metadata/x", `{}`, 405, errMsg("not supported `POST` method for plugin_metadata")},

		{"PUT", "/plugin_metadata", `{}`, 400, errMsg("missing plugin name")},
		{"PUT", "/plugin_metadata/nope", `{}`, 400, errMsg("invalid plugin name")},
		{"PUT", "/plugin_metadata/off", `{}`, 400, errMsg(`invalid configuration: property "n" is required`)},
		{"PUT", "/plugin_metadata/off", `{"n":1}`, 201, `{"key":"/apisix/plugin_metadata/off","value":{"id":"off","n":1}}`},
		{"PUT", "/plugin_metadata/mqtt-proxy", `{"any":1}`, 201, `~any`},
		{"PUT", "/plugin_metadata/http-logger", `{"pass":"p"}`, 201, `{"key":"/apisix/plugin_metadata/http-logger","value":{"id":"http-logger","pass":` + enc("p") + `}}`},
		{"GET", "/plugin_metadata/http-logger", "", 200, `~"pass":"p"`},

		{"PUT", "/protos/1", `{"content":"syntax = \"proto3\"; message A { string s = 1; }"}`, 201, `~/apisix/protos/1`},
		{"PUT", "/protos/1", `{"content":"message {"}`, 400, `~invalid content: `},
		{"POST", "/protos", `{"content":"import \"google/protobuf/empty.proto\"; service S { rpc M(google.protobuf.Empty) returns (google.protobuf.Empty); }"}`, 201, `~/apisix/protos/0`},
		{"PUT", "/protos/2", `{"content":"` + descriptorSet + `"}`, 201, `~/apisix/protos/2`},

		{"PUT", "/stream_routes/1", `{"upstream_id":"9"}`, 400, errMsg("failed to fetch upstream info by upstream id [9], response code: 404")},
		{"PUT", "/stream_routes/1", `{"service_id":"9"}`, 400, errMsg("failed to fetch service info by service id [9], response code: 404")},
		{"PUT", "/stream_routes/1", `{"protocol":{"name":"redis","superior_id":"1"}}`, 400, errMsg("stream route can not set itself as superior_id")},
		{"PUT", "/stream_routes/1", `{"protocol":{"name":"redis","superior_id":"7"}}`, 400, errMsg("failed to fetch stream routes[7], response code: 404")},
		{"PUT", "/stream_routes/1", `{"protocol":{"name":"xxx"}}`, 400, errMsg("unknown protocol [xxx]")},
		{"PUT", "/stream_routes/1", `{"protocol":{"name":"redis","conf":{"faults":"x"}}}`, 400, errMsg(`property "faults" validation failed: wrong type: expected array, got string`)},
		{"PUT", "/stream_routes/1", `{"plugins":{"mqttt-proxy":{}}}`, 400, errMsg("unknown plugin [mqttt-proxy]")},
		{"PUT", "/stream_routes/1", `{"plugins":{"mqtt-proxy":{}}}`, 400, errMsg(`failed to check the configuration of stream plugin [mqtt-proxy]: property "protocol_name" is required`)},
		{"PUT", "/stream_routes/1", `{"plugins":{"mqtt-proxy":{"_meta":{"disable":true}}}}`, 201, `~mqtt-proxy`},

		{"PUT", "/secrets/vault/1", `{"uri":"http://127.0.0.1:8200","prefix":"kv/apisix","token":"t"}`, 201, `{"key":"/apisix/secrets/vault/1","value":{"create_time":1700000000,"id":"vault/1","prefix":"kv/apisix","token":"t","update_time":1700000000,"uri":"http://127.0.0.1:8200"}}`},
		{"PUT", "/secrets/vault/1", `{"uri":"http://127.0.0.1:8200"}`, 400, `~invalid configuration: property`},
		{"PUT", "/secrets/nope/1", `{}`, 400, errMsg("invalid secret manager: nope")},
		{"PUT", "/secrets", `{}`, 400, errMsg("missing secret type")},
		{"PATCH", "/secrets/vault", `{}`, 400, errMsg("no secret id")},
		{"PATCH", "/secrets/vault/1/token", `"t2"`, 200, `~"token":"t2"`},
		{"PATCH", "/secrets/vault/1", `{"token":"t3"}`, 200, `~"token":"t3"`},
		{"GET", "/secrets", "", 200, `~"total":1`},
		{"GET", "/secrets/vault/1", "", 200, `~"id":"vault/1"`},
		{"DELETE", "/secrets/vault/1", "", 200, `{"deleted":"1","key":"/apisix/secrets/vault/1"}`},
	})
}

func TestDecorations(t *testing.T) {
	s := start(t)
	const at = "/services/s1/graphql_cost_decorations"
	s.run([]step{
		{"PUT", at + "/d1", `{"field_path":"Query.a"}`, 404, errMsg("service not found")},
		{"PUT", "/services/s1", `{}`, 201, `~s1`},
		{"GET", at, "", 404, errMsg("Key not found")},
		{"PUT", at + "/d1", `{"field_path":"Query.a"}`, 201, `{"key":"/apisix/services/s1/graphql_cost_decorations/d1","value":{"create_time":1700000000,"field_path":"Query.a","id":"d1","service_id":"s1","update_time":1700000000}}`},
		{"PUT", at + "/d2", `{"field_path":"Query.a"}`, 400, errMsg("field_path Query.a is already decorated on this service by [d1]")},
		{"PUT", at + "/d2", `{"field_path":"Query.b","service_id":"s2"}`, 400, errMsg("wrong service_id, it is taken from the path")},
		{"PUT", at + "/d2", `{"field_path":"1"}`, 400, `~invalid configuration: property \"field_path\" validation failed: failed to match pattern`},
		{"POST", at, `{"field_path":"Query.c"}`, 201, `~Query.c`},
		{"PATCH", at + "/d1", `{"service_id":"s1"}`, 400, errMsg("service_id can not be patched")},
		{"PATCH", at + "/d1", `{"mul_value":2}`, 200, `~"mul_value":2`},
		{"PATCH", at + "/d1", `{"field_path":"Query.c"}`, 400, `~field_path Query.c is already decorated on this service by [0`},
		{"GET", at, "", 200, `~"total":2`},
		{"GET", at + "/d1", "", 200, `~Query.a`},
		{"GET", "/services", "", 200, `~"total":1`},
		{"GET", "/graphql_cost_decorations", "", 400, errMsg("missing service id")},
		{"PUT", "/graphql_cost_decorations/1", `{}`, 400, errMsg("missing service id")},
		{"DELETE", "/services/s1", "", 200, `~deleted`},
		{"PUT", "/services/s1", `{}`, 201, `~s1`},
		{"GET", at, "", 404, errMsg("Key not found")},
	})
}

func TestListFilters(t *testing.T) {
	s := start(t)
	for i, body := range []string{
		`{"uri":"/a1","plugins":{},"name":"first","labels":{"env":"x"}}`,
		`{"uris":["/b","/a2"],"plugins":{},"name":"second"}`,
		`{"uri":"/c","service_id":"1"}`,
	} {
		if i == 2 {
			s.must(201, "PUT", "/services/1", `{}`)
		}
		s.must(201, "PUT", "/routes/"+string(rune('3'-i)), body)
	}
	for query, want := range map[string]string{
		"":                                 "1 2 3",
		"?name=ir":                         "3",
		"?name=nil":                        "1",
		"?label=env":                       "3",
		"?label=x":                         "",
		"?uri=%2Fa":                        "2 3",
		"?uri=%2Fa%5C%5Cd":                 "",
		"?filter=service_id%3D1":           "1",
		"?filter=service_id%3D2":           "",
		"?filter=nope%3D2":                 "1 2 3",
		"?name=(":                          "",
		"?page=1&page_size=10":             "3 2 1",
		"?page=2&page_size=10":             "",
		"?page=-1&page_size=10":            "3 2 1",
		"?page=x&page_size=10":             "1 2 3",
		"?page=999999999999&page_size=500": "",
	} {
		var got struct {
			List []struct{ Value struct{ ID string } }
		}
		_ = json.Unmarshal(s.send("GET", "/routes"+query, "").Body.Bytes(), &got)
		var ids []string
		for _, it := range got.List {
			ids = append(ids, it.Value.ID)
		}
		if g := strings.Join(ids, " "); g != want {
			t.Errorf("%s: %q, want %q", query, g, want)
		}
	}
	s.run([]step{{"GET", "/routes?page=1&page_size=9", "", 400, "page_size must be between 10 and 500"}})
}

func TestSSL(t *testing.T) {
	s := start(t)
	w := s.send("PUT", "/ssls/1", sslBody("server"))
	if w.Code != 201 || !strings.Contains(w.Body.String(), `"key":`+enc(testKey)) {
		t.Errorf("PUT: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/ssls/1", "/ssls"} {
		if body := s.send("GET", path, "").Body.String(); strings.Contains(body, enc(testKey)) || strings.Contains(body, "PRIVATE") {
			t.Errorf("GET %s shows the key: %s", path, body)
		}
	}
	s.must(200, "PATCH", "/ssls/1", `{"status":0}`)
	body := func(change func(object)) string {
		o := object{"cert": testCert, "key": testKey, "sni": "a.com"}
		change(o)
		b, _ := encode(o)
		return string(b)
	}
	long := strings.Repeat("x", 200)
	s.run([]step{
		{"PUT", "/ssls/2", body(func(o object) { o["cert"] = long }), 400, errMsg("failed to parse cert: PEM_read_bio_X509_AUX() failed")},
		{"PUT", "/ssls/2", body(func(o object) { o["key"] = "---" + long }), 400, errMsg("failed to parse key: PEM_read_bio_PrivateKey() failed")},
		{"PUT", "/ssls/2", body(func(o object) { o["key"] = long }), 400, errMsg("failed to decrypt previous encrypted key")},
		{"PUT", "/ssls/2", body(func(o object) { o["certs"] = []string{testCert} }), 400, errMsg("mismatched number of certs and keys")},
		{"PUT", "/ssls/2", body(func(o object) { o["certs"] = []string{long}; o["keys"] = []string{testKey} }), 400, errMsg("failed to handle cert-key pair[1]: failed to parse cert: PEM_read_bio_X509_AUX() failed")},
		{"PUT", "/ssls/2", body(func(o object) { o["client"] = object{"ca": long} }), 400, errMsg("failed to validate client_cert: failed to parse cert: PEM_read_bio_X509_AUX() failed")},
		{"PUT", "/ssls/2", body(func(o object) { delete(o, "sni") }), 400, errMsg("invalid configuration: then clause did not match")},
		{"PUT", "/ssls/2", body(func(o object) { o["cert"] = "$secret://vault/1/c"; o["key"] = "$env://K" }), 201, "~$env://K"},
		{"PUT", "/ssls/3", body(func(o object) { o["certs"] = []string{testCert}; o["keys"] = []string{testKey} }), 201, `~"keys":[` + enc(testKey)},
	})
}

func TestAccess(t *testing.T) {
	keys := []Key{{Name: "admin", Key: "secret", Role: "admin"}, {Name: "viewer", Key: "view", Role: "viewer"}}
	s := start(t, func(o *Options) { o.KeyRequired, o.Keys = true, keys })
	refused := func(why string) string {
		return `{"description":"` + why + `","error_msg":"failed to check token"}`
	}
	for _, c := range []struct {
		method, path string
		head         []string
		code         int
		want         string
	}{
		{"GET", "/routes", nil, 401, refused("missing apikey")},
		{"GET", "/routes", []string{"X-API-KEY", "nope"}, 401, refused("wrong apikey")},
		{"GET", "/nope", []string{"X-API-KEY", "nope"}, 401, refused("wrong apikey")},
		{"GET", "/routes", []string{"X-API-KEY", "secret"}, 200, ""},
		{"GET", "/routes?api_key=secret", []string{"X-API-KEY", "nope"}, 200, ""},
		{"GET", "/routes", []string{"Cookie", "x_api_key=secret"}, 200, ""},
		{"GET", "/routes", []string{"X-API-KEY", "view"}, 200, ""},
		{"PUT", "/routes/1", []string{"X-API-KEY", "view"}, 401, refused("invalid method for role viewer")},
		{"GET", "/plugins/list", nil, 401, refused("missing apikey")},
		{"POST", "/schema/validate/routes", nil, 401, refused("missing apikey")},
		{"POST", "/configs/validate", nil, 401, refused("missing apikey")},
		{"PUT", "/plugins/reload", nil, 401, refused("missing apikey")},
		{"HEAD", "", nil, 200, ""},
	} {
		w := s.send(c.method, c.path, "", c.head...)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.code || c.want != "" && got != c.want {
			t.Errorf("%s %s %v: %d %s", c.method, c.path, c.head, w.Code, got)
		}
	}
	s = start(t, func(o *Options) { o.AllowAdmin = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")} })
	if w := s.send("GET", "/routes", ""); w.Code != 403 || !strings.Contains(w.Body.String(), "<title>403 Forbidden</title>") {
		t.Errorf("foreign address: %d %s", w.Code, w.Body) // httptest's address is 192.0.2.1
	}
}

func TestFront(t *testing.T) {
	s := start(t)
	w := s.send("GET", "/routes", "")
	for name, want := range map[string]string{"Server": "APISIX/3.18.0", "Content-Type": "application/json", "X-Api-Version": "v3",
		"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*", "Access-Control-Max-Age": "3600"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	w = s.send("OPTIONS", "/anything", "")
	if w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Access-Control-Allow-Methods") != "POST, GET, PUT, OPTIONS, DELETE, PATCH" {
		t.Errorf("OPTIONS: %d %v", w.Code, w.Header())
	}
	for _, c := range [][2]string{{"GET", ""}, {"TRACE", "/routes"}, {"HEAD", "/routes"}, {"GET", "//hello"}, {"POST", "//ui"}} {
		if w := s.send(c[0], c[1], ""); w.Code != 404 || !strings.Contains(w.Body.String(), "apisix.apache.org") ||
			w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%v: %d %s", c, w.Code, w.Body)
		}
	}
	s.run([]step{
		{"GET", "/routs/1", "", 404, errMsg("Unsupported resource type: routs")},
		{"GET", "/ssl/1", "", 404, errMsg("Unsupported resource type: ssl")},
		{"PUT", "/plugins", `{}`, 404, errMsg("not found")},
		{"PUT", "/routes/1", `{x`, 400, `{"error_msg":"invalid request body: Expected object key string but found invalid token at character 2","req_body":"{x"}`},
		{"PUT", "/routes/1", strings.Repeat(" ", maxBody+1), 400, errMsg("invalid request body: request size 1572865 is greater than the maximum size 1572864 allowed")},
		{"PUT", "/routes/1", `[1]`, 400, errMsg("invalid configuration: wrong type: expected object, got table")},
	})
	s = start(t, func(o *Options) { o.CORS, o.HideVersion, o.StreamMode = false, true, false })
	if w := s.send("OPTIONS", "/routes", ""); w.Code != 404 || w.Header().Get("Server") != "APISIX" {
		t.Errorf("OPTIONS without CORS: %d %v", w.Code, w.Header())
	}
	s.run([]step{{"GET", "/stream_routes", "", 400, errMsg("stream mode is disabled, can not add stream routes")}})
}

func TestOldEnvelope(t *testing.T) {
	s := start(t, func(o *Options) { o.V2 = true })
	s.run([]step{
		{"PUT", "/plugin_metadata/off", `{"n":1}`, 201, `{"action":"set","node":{"key":"/apisix/plugin_metadata/off","value":{"id":"off","n":1}}}`},
		{"GET", "/plugin_metadata/off", "", 200, `{"action":"get","node":{"key":"/apisix/plugin_metadata/off","value":{"id":"off","n":1}}}`},
		{"GET", "/plugin_metadata", "", 200, `{"action":"get","node":{"dir":true,"key":"/apisix/plugin_metadata","nodes":[{"key":"/apisix/plugin_metadata/off","value":{"id":"off","n":1},"createdIndex":1,"modifiedIndex":1}]}}`},
		{"DELETE", "/plugin_metadata/off", "", 200, `{"action":"delete","deleted":"1","key":"/apisix/plugin_metadata/off","node":{}}`},
	})
	if got := s.send("GET", "/routes", "").Header().Get("X-Api-Version"); got != "v2" {
		t.Errorf("X-API-VERSION %q", got)
	}
}

func TestStoreFails(t *testing.T) {
	s := start(t)
	s.must(201, "PUT", "/routes/1", route1)
	s.store.before = func() {
		s.store.before = nil
		s.must(200, "PUT", "/routes/1", route1)
	}
	s.run([]step{{"PATCH", "/routes/1", `{"name":"x"}`, 503, errMsg("value changed before overwritten")}})
	s.store.down = errDown
	want := errMsg(errDown.Error())
	s.run([]step{
		{"GET", "/routes", "", 503, want}, {"GET", "/routes/1", "", 503, want}, {"PUT", "/routes/1", route1, 503, want},
		{"POST", "/routes", route1, 503, want}, {"PATCH", "/routes/1", `{}`, 503, want}, {"DELETE", "/routes/1", "", 503, want},
		{"PUT", "/routes/1", `{"uri":"/a","upstream_id":1}`, 503, `~` + errDown.Error()},
		{"DELETE", "/upstreams/1", "", 503, want},
	})
}

func TestPluginFieldsAreEncrypted(t *testing.T) {
	s := start(t)
	s.run([]step{
		{"PUT", "/routes/1", `{"uri":"/a","plugins":{"http-logger":{"auth":"s","list":[{"token":"t"},{"token":["u"]}]}}}`, 201, `~{"auth":` + enc("s") + `,"list":[{"token":` + enc("t") + `},{"token":[` + enc("u") + `]}]}`},
		{"GET", "/routes/1", "", 200, `~{"auth":"s","list":[{"token":"t"},{"token":["u"]}]}`},
		{"PATCH", "/routes/1", `{"name":"x"}`, 200, `~"auth":` + enc("s") + ``},
		{"GET", "/routes", "", 200, `~"auth":"s"`},
	})
	if ch, _ := s.store.Get(t.Context(), "routes", "1"); !strings.Contains(string(ch.Value), ``+enc("s")+``) {
		t.Errorf("stored: %s", ch.Value)
	}
}

func TestTrialBuild(t *testing.T) {
	s := start(t, func(o *Options) {
		o.TryPlugin = func(sp *plugins.Spec, owner string, conf []byte, _ bool) error {
			if sp.Name == "limit-count" && strings.Contains(string(conf), `"policy":"local"`) && owner == "routes/1" {
				return errors.New("no counter")
			}
			return nil
		}
	})
	s.run([]step{{"PUT", "/routes/1", `{"uri":"/a","plugins":{"limit-count":{"count":1}}}`, 400,
		errMsg("failed to check the configuration of plugin limit-count err: no counter")}})
	var tried *resource.Route
	s = start(t, func(o *Options) {
		o.Try = func(_ resource.Kind, id string, obj any) error {
			if tried = obj.(*resource.Route); id == "bad" {
				return errors.New("no such thing")
			}
			return nil
		}
	})
	s.run([]step{
		{"PUT", "/routes/1", `{"uri":"/a","plugins":[],"upstream":{"nodes":{"a:1":1}}}`, 201, `~"plugins":[]`},
		{"PUT", "/routes/bad", `{"uri":"/a","plugins":{}}`, 400, errMsg("invalid configuration: no such thing")},
	})
	if tried == nil || tried.ID != "bad" {
		t.Errorf("tried: %+v", tried)
	}
	var key string
	s = start(t, func(o *Options) {
		o.Try = func(_ resource.Kind, _ string, obj any) error { key = obj.(*resource.SSL).Key; return nil }
	})
	s.must(201, "PUT", "/ssls/1", sslBody("server"))
	key = ""
	if s.must(200, "PATCH", "/ssls/1", `{"status":0}`); key != testKey {
		t.Errorf("PATCH tried the key %.20q", key)
	}
	key = ""
	if s.must(201, "PUT", "/ssls/2", `{"cert":"$secret://vault/1/c","key":"$env://K","sni":"a.com"}`); key != "" {
		t.Errorf("a reference was tried: %q", key)
	}
}

func TestPluginsAndSchemas(t *testing.T) {
	reloads := 0
	s := start(t, func(o *Options) { o.Reload = func(ctx) error { reloads++; return nil } })
	s.run([]step{
		{"GET", "/plugins/list", "", 200, `["basic-auth","key-auth","limit-count","server-info","traffic-split","grpc-transcode","http-logger"]`},
		{"GET", "/plugins/list?subsystem=stream", "", 200, `["mqtt-proxy"]`},
		{"GET", "/plugins/list?subsystem=x", "", 400, "invalid subsystem passed"},
		{"GET", "/plugins/nope", "", 404, errMsg("plugin not found in subsystem http")},
		{"GET", "/plugins/key-auth?subsystem=stream", "", 404, errMsg("plugin not found in subsystem stream")},
		{"GET", "/plugins/key-auth?subsystem=x", "", 400, errMsg("unsupported subsystem: x")},
		{"GET", "/plugins/key-auth", "", 200, `~"$comment":"this is a mark for our injected plugin schema"`},
		{"GET", "/schema/plugins/key-auth", "", 200, `~"_meta":`},
		{"GET", "/plugins/mqtt-proxy?subsystem=stream", "", 200, `~protocol_name`},
		{"GET", "/plugins/key-auth?schema_type=consumer", "", 200, keyConsumer},
		{"GET", "/plugins/limit-count?schema_type=consumer", "", 400, errMsg("not found schema")},
		{"GET", "/schema/route", "", 200, `~"uris"`},
		{"GET", "/schema/nope", "", 400, errMsg("not found schema: nope")},
		{"POST", "/schema/validate/routes", `{"uri":"/a","plugins":{"nope":1}}`, 200, ""},
		{"POST", "/schema/validate/routes", `{"uri":1,"plugins":{}}`, 400, errMsg(`property "uri" validation failed: wrong type: expected string, got number`)},
		{"POST", "/schema/validate/nope", `{}`, 404, errMsg("Unsupported resource type: nope")},
		{"PUT", "/plugins/reload", "", 200, "done"},
		{"GET", "/plugins/reload", "", 405, errMsg("please use PUT method to reload the plugins, GET method is not allowed.")},
	})
	if reloads != 1 {
		t.Errorf("%d reloads", reloads)
	}
	var all map[string]struct {
		Version     json.Number
		Priority    int
		Type, Scope string
		Schema      object
		Consumer    object `json:"consumer_schema"`
	}
	if err := json.Unmarshal(s.send("GET", "/plugins?all=true", "").Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	if p := all["key-auth"]; p.Type != "auth" || p.Priority != 2500 || p.Version != "0.1" || p.Consumer["title"] == nil || p.Schema["$comment"] == nil {
		t.Errorf("key-auth: %+v", p)
	}
	if all["server-info"].Scope != "global" || len(all) != 7 {
		t.Errorf("%d plugins, server-info: %+v", len(all), all["server-info"])
	}
}

func TestStoredPluginList(t *testing.T) {
	s := start(t)
	h := s.h.(*Handler)
	if err := h.SyncPlugins(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Get(t.Context(), "plugins", ""); err == nil {
		t.Error("a list was written at the start, though there was none")
	}
	s.must(200, "PUT", "/plugins/reload", "")
	ch, err := s.store.Get(t.Context(), "plugins", "")
	if err != nil || !strings.Contains(string(ch.Value), `{"name":"limit-count"}`) || !strings.Contains(string(ch.Value), `{"name":"mqtt-proxy","stream":true}`) {
		t.Errorf("after a reload: %s %v", ch.Value, err)
	}
	for stored, writes := range map[string]bool{string(ch.Value): false, `[{"name":"limit-count"}]`: true, `x`: true} {
		_, _ = s.store.Put(t.Context(), "plugins", "", []byte(stored), configcenter.PutOptions{})
		before := s.store.rev
		if err := h.SyncPlugins(t.Context()); err != nil || (s.store.rev != before) != writes {
			t.Errorf("stored %s: rev %d after %d, %v", stored, s.store.rev, before, err)
		}
	}
	s.store.down = errDown
	if err := h.SyncPlugins(t.Context()); !errors.Is(err, errDown) {
		t.Error(err)
	}
}

func TestValidateConfigs(t *testing.T) {
	s := start(t)
	fault := func(parts ...string) string {
		return `{"error_msg":"Configuration validation failed","errors":[` + strings.Join(parts, ",") + `]}`
	}
	s.run([]step{
		{"POST", "/configs/validate", "", 400, errMsg("invalid request body: empty request body")},
		{"POST", "/configs/validate", "{", 400, errMsg("invalid request body: Expected object key string but found T_END at character 2")},
		{"POST", "/configs/validate", `{"routes":[{"id":"1","uri":"/a","upstream_id":"9"}],"routes_conf_version":1}`, 200, "{}"},
		{"POST", "/configs/validate", `{"routes":[{"id":"r1","uri":"/a","plugins":{}},{"id":"r1","uri":"/b","plugins":{}}]}`, 400,
			fault(`{"resource_type":"routes","resource_id":"r1","index":1,"error":"found duplicate id r1 in routes"}`)},
		{"POST", "/configs/validate", `{"consumers":[{"username":"c"},{"username":"c"}],"routes_conf_version":"x"}`, 400,
			fault(`{"resource_type":"routes","error":"routes_conf_version must be a number, got string"}`,
				`{"resource_type":"consumers","resource_id":"c","index":1,"error":"found duplicate username c in consumers"}`)},
		{"POST", "/configs/validate", `{"routes":[{"uri":1}]}`, 400, `~"resource_id":"","index":0`},
		{"POST", "/configs/validate", `{"consumers":[{"username":"j"},{"id":"j/credentials/john-a","plugins":{"limit-count":{"count":1}}}]}`, 400,
			`~only supports auth type plugins in consumer credential`},
		{"POST", "/configs/validate", `{"secrets":[{"id":"x"}]}`, 400, `~invalid secret id: x`},
	})
	if w := s.send("POST", "/configs/validate", "routes:\n- id: 1\n  uri: /a\n  plugins: {}\n", "Content-Type", "application/yaml"); w.Code != 200 {
		t.Errorf("yaml: %d %s", w.Code, w.Body)
	}
	if w := s.send("POST", "/configs/validate", "a: [", "Content-Type", "application/yaml"); !strings.Contains(w.Body.String(), "invalid yaml request body") {
		t.Errorf("bad yaml: %d %s", w.Code, w.Body)
	}
}

func TestStandalone(t *testing.T) {
	sa := &Standalone{}
	s := start(t, func(o *Options) { o.Standalone = sa })
	put := func(digest, body string) *httptest.ResponseRecorder {
		return s.send("PUT", "/configs", body, "X-Digest", digest)
	}
	s.run([]step{{"PUT", "/configs", `{}`, 400, errMsg("missing digest header")}, {"GET", "/routes", "", 404, "~404 Not Found"},
		{"GET", "/configs", "", 200, `~"routes_conf_version":0`}})
	w := put("d1", `{"routes":[{"id":"r1","uri":"/a","plugins":{},"modifiedIndex":7}],"services_conf_version":5}`)
	if w.Code != 202 || w.Header().Get("X-Digest") != "d1" || w.Header().Get("X-Last-Modified") != "1700000000" {
		t.Errorf("PUT: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := put("d1", `{"routes":[]}`); w.Code != 204 {
		t.Errorf("same digest: %d", w.Code)
	}
	for body, want := range map[string]string{
		"":                                "invalid request body: empty request body",
		`{"services_conf_version":4}`:     "services_conf_version must be greater than or equal to (5)",
		`{"routes":[{"id":"1","uri":2}]}`: `invalid configuration: property "uri" validation failed: wrong type: expected string, got number`,
		`{"routes_conf_version":"a"}`:     "routes_conf_version must be a number",
	} {
		if w := put("d2", body); w.Code != 400 || strings.TrimSpace(w.Body.String()) != errMsg(want) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := put("d2", `{"routes":[],"routes_conf_version":1,"upstreams":[{"id":"u","nodes":{"a:1":1}}]}`); w.Code != 202 {
		t.Errorf("second PUT: %d %s", w.Code, w.Body)
	}
	w = s.send("GET", "/configs", "", "Accept", "application/yaml")
	if !strings.Contains(w.Body.String(), "routes_conf_version: 1\n") || !strings.Contains(w.Body.String(), "uri: /a") || w.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("yaml: %s", w.Body)
	}
	if w = s.send("HEAD", "/configs", ""); w.Code != 200 || w.Header().Get("X-Digest") != "d2" || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	for b, err := range sa.Watch(t.Context()) {
		if err != nil || !b.Full || len(b.Changes) != 2 {
			t.Fatalf("%+v %v", b, err)
		}
		i := slices.IndexFunc(b.Changes, func(c change) bool { return c.ID == "r1" })
		if ch := b.Changes[i]; ch.Mod != 7 || strings.Contains(string(ch.Value), "modifiedIndex") {
			t.Errorf("%+v %s", ch, ch.Value)
		}
		break
	}
}
