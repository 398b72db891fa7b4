package all

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// probe is a configuration of a plugin with which the walks exercise it. In
// conf, with and metadata these stand for what differs from run to run:
//
//	$HTTP   "http://address" that takes everything
//	$PORT   the same for plain TCP and UDP on 127.0.0.1
//	$ECHO   address of the upstream
//	$REDIS  port of a Redis
//	$DIR    a folder
//	$ROUTE  another word for each route
type probe struct {
	name      string // of several
	conf      string
	with      string // other plugins of the route: `"redirect":{…},`
	metadata  string
	path      string // of requests; "/path" otherwise
	method    string // "POST" otherwise
	body      string // $CANARY is the request's canary
	headers   string // of all requests, a JSON object
	mask      string // names of fields and members whose values are the plugin's own choice
	refuses   bool   // no request gets through
	elsewhere bool   // the plugin does its work in no phase
	keeps     bool   // people may see what they were answered before
}

// probes are those of plugins whose README's examples do not show all there is
// to see, need something that is not there, or take long. All others are walked
// with these examples; a plugin that they do not make run needs an entry here.
var probes = map[string][]probe{
	"api-breaker":           {{conf: `{"break_response_code":599,"unhealthy":{"http_statuses":[500],"failures":3},"healthy":{"successes":1}}`}},
	"attach-consumer-label": {{conf: `{"headers":{"X-Dep":"$department","X-Canary-Of":"$custom_id"}}`}},
	"basic-auth":            {{conf: `{}`}, {name: "anonymous", conf: `{"hide_credentials":true,"anonymous_consumer":"zqnobodyzq"}`}},
	"batch-requests": {{conf: `{}`, with: `"public-api":{"uri":"/apisix/batch-requests"},`, elsewhere: true,
		body: `{"headers":{"Host":"%HOST%","apikey":"%KEY%"},"pipeline":[{"path":"/inner/$CANARY","headers":{"X-Canary":"$CANARY"}},{"path":"/inner2/$CANARY","method":"POST","body":"$CANARY"}]}`}},
	"brotli":            {{conf: `{"types":["application/json"],"min_length":1}`, headers: `{"Accept-Encoding":"br"}`}},
	"clickhouse-logger": {{conf: `{"endpoint_addr":"$HTTP","user":"u","password":"$ROUTE","database":"d","logtable":"t","batch_max_size":1,"include_req_body":true,"include_resp_body":true}`}},
	"consumer-restriction": {{conf: `{"whitelist":["zqalicezq"]}`}, {name: "methods", conf: `{"allowed_by_methods":[{"user":"zqalicezq","methods":["POST"]}]}`},
		{name: "blacklist", conf: `{"blacklist":["zqalicezq"]}`}},
	"csrf":                 {{conf: `{"key":"k","name":"tok"}`, method: "GET"}},
	"datadog":              {{conf: `{"batch_max_size":1,"constant_tags":["$ROUTE"]}`, metadata: `{"host":"127.0.0.1","port":$PORT}`}},
	"elasticsearch-logger": {{conf: `{"endpoint_addr":"$HTTP","field":{"index":"i"},"auth":{"username":"u","password":"$ROUTE"},"batch_max_size":1,"include_req_body":true,"include_resp_body":true}`}},
	"example-plugin":       {{conf: `{"i":1,"ip":"127.0.0.1","port":$ECHOPORT}`}},
	"exit-transformer": {{conf: `{"functions":["local code, body, header = ... leak = (leak or '') .. tostring(ngx.var.http_x_canary) header = header or {} header['X-Seen'] = (header['X-Seen'] or '') .. leak .. '$ROUTE' return code, {seen = leak}, header"]}`,
		with: `"mocking":{"response_example":"x","response_status":200},`}},
	"fault-injection": {{conf: `{"abort":{"http_status":503,"body":"for $http_x_canary of $consumer_name","headers":{"X-C":"$http_x_canary"},"vars":[[["http_x_want_status","==","500"]]]}}`},
		{name: "delay", conf: `{"delay":{"duration":0.001}}`}},
	"file-logger": {{conf: `{"path":"$DIR/$ROUTE.log","include_req_body":true,"include_resp_body":true}`}},
	"forward-auth": {{conf: `{"uri":"$HTTP/auth","request_headers":["X-Canary","Authorization"],"upstream_headers":["X-User-ID"],"client_headers":["X-User-ID"],"extra_headers":{"X-Route":"$route_id"}}`},
		{name: "body", conf: `{"uri":"$HTTP/auth","request_method":"POST","upstream_headers":["X-User-ID"]}`}},
	"grpc-web":  {{conf: `{}`, headers: `{"Content-Type":"application/grpc-web"}`, body: "\x00\x00\x00\x00\x0d$CANARY"}},
	"gzip":      {{conf: `{"types":["application/json"],"min_length":1}`, headers: `{"Accept-Encoding":"gzip"}`}},
	"hmac-auth": {{conf: `{}`, mask: "^(authorization|date)$"}, {name: "body", conf: `{"validate_request_body":true,"hide_credentials":true}`, mask: "^date$"}},
	"http-logger": {{conf: `{"uri":"$HTTP/log","auth_header":"Bearer $ROUTE","batch_max_size":1,"include_req_body":true,"include_resp_body":true}`},
		{name: "format", conf: `{"uri":"$HTTP/log","batch_max_size":1,"log_format":{"c":"$http_x_canary","r":"$route_id","u":"$consumer_name","b":"$request_body","p":"$post_arg.name","a":"$arg_q","o":"$original_x_forwarded_host"}}`}},
	"jwt-auth": {{conf: `{}`}, {name: "hidden", conf: `{"hide_credentials":true}`}},
	"key-auth": {{conf: `{}`}, {name: "hidden", conf: `{"hide_credentials":true,"anonymous_consumer":"zqnobodyzq"}`}},
	"limit-conn": {{conf: `{"conn":2,"burst":0,"default_conn_delay":0.1,"key":"remote_addr","rejected_code":429}`},
		{name: "redis", conf: `{"conn":10,"burst":0,"default_conn_delay":0.1,"key":"remote_addr","rejected_code":429,"policy":"redis","redis_host":"127.0.0.1","redis_port":$REDIS,"redis_timeout":20000}`}},
	"limit-count": {{conf: `{"count":4,"time_window":36000,"rejected_code":429}`}, {name: "sliding", conf: `{"count":4,"time_window":36000,"window_type":"sliding","rejected_code":429}`},
		{name: "redis", conf: `{"count":4,"time_window":36000,"rejected_code":429,"policy":"redis","redis_host":"127.0.0.1","redis_port":$REDIS,"redis_timeout":20000}`},
		{name: "rules", conf: `{"rules":[{"count":4,"time_window":36000,"key":"${consumer_name}"},{"count":100,"time_window":36000,"key":"${remote_addr}"}]}`}},
	"limit-req": {{conf: `{"rate":0.0001,"burst":3,"nodelay":true,"key":"remote_addr","rejected_code":429}`},
		{name: "redis", conf: `{"rate":0.0001,"burst":3,"nodelay":true,"key":"remote_addr","rejected_code":429,"policy":"redis","redis_host":"127.0.0.1","redis_port":$REDIS,"redis_timeout":20000}`}},
	"loki-logger": {{conf: `{"endpoint_addrs":["$HTTP"],"tenant_id":"$ROUTE","log_labels":{"route":"$ROUTE"},"batch_max_size":1,"include_req_body":true,"include_resp_body":true}`}},
	"mocking":     {{conf: `{"response_example":"you are $http_x_canary of $consumer_name","response_headers":{"X-C":"$http_x_canary"}}`}},
	"multi-auth":  {{conf: `{"auth_plugins":[{"basic-auth":{}},{"key-auth":{}},{"jwt-auth":{}}]}`}},
	"opentelemetry": {{conf: `{"sampler":{"name":"always_on"},"additional_attributes":["consumer_name","route_id"],"additional_header_prefix_attributes":["x-can*"]}`,
		metadata: `{"collector":{"address":"$SINK"},"batch_span_processor":{"max_export_batch_size":1,"batch_timeout":1},"set_ngx_var":true}`, mask: "^traceparent$"}},
	"proxy-cache": {{name: "memory", conf: `{"cache_strategy":"memory","cache_zone":"memory","cache_key":["$host","$uri"],"cache_ttl":3600,"cache_method":["GET"]}`, method: "GET", keeps: true},
		{name: "disk", conf: `{"cache_strategy":"disk","cache_zone":"disk","cache_key":["$host","$uri"],"cache_ttl":3600,"cache_method":["GET"]}`, method: "GET", keeps: true}},
	"proxy-mirror": {{conf: `{"host":"$HTTP","path":"/copy","path_concat_mode":"prefix"}`}},
	"proxy-rewrite": {{conf: `{"uri":"/v2$uri","headers":{"set":{"X-Set":"$http_x_canary","X-Who":"$consumer_name"},"add":{"X-R":"$route_id"},"remove":["User-Agent"]}}`},
		{name: "regex", conf: `{"regex_uri":["^/(.*)/(.*)","/$2/$1"],"headers":{"set":{"X-First":"$1"}}}`}},
	"public-api":         {{conf: `{"uri":"/apisix/batch-requests"}`, body: `{"headers":{"Host":"%HOST%"},"pipeline":[{"path":"/inner/$CANARY"}]}`}},
	"real-ip":            {{conf: `{"source":"http_x_forwarded_for","trusted_addresses":["127.0.0.0/8"]}`, with: `"proxy-rewrite":{"headers":{"set":{"X-Who":"$remote_addr"}}},`, headers: `{"X-Forwarded-For":"10.1.2.3"}`}},
	"redirect":           {{conf: `{"uri":"/new$uri?c=$http_x_canary&u=$consumer_name","append_query_string":true}`}},
	"request-id":         {{conf: `{"algorithm":"uuidv7"}`, mask: "^x-request-id$"}, {name: "range", conf: `{"header_name":"X-Trace","algorithm":"range_id"}`, mask: "^x-trace$"}},
	"request-validation": {{conf: `{"body_schema":{"type":"object","required":["name"],"properties":{"name":{"type":"string","maxLength":60},"kind":{"type":"string","default":"plain"}}}}`}},
	"response-rewrite": {{conf: `{"headers":{"set":{"X-C":"$http_x_canary","X-Who":"$consumer_name"},"remove":["X-Up"]}}`},
		{name: "filters", conf: `{"filters":[{"regex":"zqb","replace":"zqb","scope":"global"}]}`}},
	"serverless-pre-function":  {{conf: luaProbe("access"), mask: "^x-leak$"}, {name: "body", conf: luaProbe("body_filter")}, {name: "log", conf: luaProbe("log")}},
	"serverless-post-function": {{conf: luaProbe("rewrite"), mask: "^x-leak$"}, {name: "header", conf: luaProbe("header_filter"), mask: "^x-leak$"}},
	"splunk-hec-logging":       {{conf: `{"endpoint":{"uri":"$HTTP/services","token":"$ROUTE"},"batch_max_size":1}`}},
	"syslog":                   {{conf: `{"host":"127.0.0.1","port":$PORT,"sock_type":"udp","batch_max_size":1,"include_req_body":true}`}},
	"tcp-logger":               {{conf: `{"host":"127.0.0.1","port":$PORT,"batch_max_size":1,"include_req_body":true,"include_resp_body":true}`}},
	"traffic-split":            {{conf: `{"rules":[{"match":[{"vars":[["consumer_name","==","zqalicezq"]]}],"weighted_upstreams":[{"upstream":{"nodes":{"$ECHO":1},"pass_host":"rewrite","upstream_host":"zqalicezq"},"weight":1},{"weight":1}]}]}`}},
	"workflow":                 {{conf: `{"rules":[{"case":[["consumer_name","==","zqalicezq"]],"actions":[["limit-count",{"count":3,"time_window":36000,"rejected_code":429}]]},{"actions":[["limit-count",{"count":5,"time_window":36000,"rejected_code":430}]]}]}`}},
	"zipkin":                   {{conf: `{"endpoint":"$HTTP/spans","sample_ratio":1,"service_name":"$ROUTE"}`, mask: "^x-b3-|^b3$"}},
}

// luaProbe is a function that keeps what it sees wherever Lua can, and shows
// what it finds there. What a request may keep ends with it; what a program
// does to its libraries and its configuration is seen by its own route only.
func luaProbe(phase string) string {
	show := `ngx.header['X-Leak'] = seen`
	if phase == "body_filter" || phase == "log" {
		show = `ngx.log(ngx.ERR, 'seen ', seen)`
	}
	code := `return function(conf, ctx)
		local seen = tostring(leak) .. tostring(string.leak) .. tostring(ngx.ctx.leak) .. tostring(ctx.leak) .. tostring(conf.leak) .. tostring(ngx.leak) .. tostring(ctx.var.leak)
		` + show + `
		local mine = ngx.var.http_x_canary
		leak, ngx.ctx.leak, ctx.leak, ctx.var.leak = mine, mine, mine, mine
		local route = ngx.var.route_id
		pcall(function() string.leak = route end)
		pcall(function() conf.leak = route end)
		pcall(function() ngx.leak = route end)
	end`
	text, _ := json.Marshal([]string{code})
	return `{"phase":"` + phase + `","functions":` + string(text) + `}`
}

var fences = regexp.MustCompile("(?s)```json\n(.*?)```")

// probesOf are the probes of a plugin, or its README's examples.
func probesOf(t testing.TB, name string) []probe {
	t.Helper()
	if own := probes[name]; own != nil {
		return own
	}
	file, err := os.ReadFile(filepath.Join(dir, name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []probe
	for i, m := range fences.FindAllStringSubmatch(string(file), -1) {
		found = append(found, probe{name: fmt.Sprintf("example %d", i+1), conf: local(m[1])})
	}
	return found
}

var (
	localURL  = regexp.MustCompile(`http://127\.0\.0\.1(:\d+)?`)
	localPort = regexp.MustCompile(`("host": *"127\.0\.0\.1",\s*"port":) *\d+`)
	localFile = regexp.MustCompile(`("path": *")logs/`)
	localNode = regexp.MustCompile(`"127\.0\.0\.1:\d+"`)
	localDB   = regexp.MustCompile(`"redis_host": *"127\.0\.0\.1"`)
)

// local leads an example's addresses to the rig.
func local(conf string) string {
	conf = localURL.ReplaceAllString(conf, "$$HTTP")
	conf = localPort.ReplaceAllString(conf, "$1 $$PORT")
	conf = localFile.ReplaceAllString(conf, "$1$$DIR/")
	conf = localNode.ReplaceAllString(conf, `"$$ECHO"`)
	return localDB.ReplaceAllString(conf, `"redis_host":"127.0.0.1","redis_port":$$REDIS`)
}

// fill puts the rig's addresses into a text of a probe.
func (r *rig) fill(text, route string, redis int) string {
	_, echoPort, _ := strings.Cut(r.echo.Listener.Addr().String(), ":")
	return strings.NewReplacer("$HTTP", r.sink.http.URL, "$PORT", fmt.Sprint(r.sink.port), "$ECHOPORT", echoPort,
		"$SINK", r.sink.http.Listener.Addr().String(), "$ECHO", r.echo.Listener.Addr().String(),
		"$REDIS", fmt.Sprint(redis), "$DIR", r.dir, "$ROUTE", route).Replace(text)
}

// credentials are the parts of consumers, and how a request shows them. A new
// plugin with consumers needs both.
var credentials = map[string]struct {
	part func(who string) string
	sign func(q *http.Request, body, who string)
}{
	"key-auth": {
		func(who string) string { return `{"key":"` + who + `key"}` },
		func(q *http.Request, _, who string) { q.Header.Set("apikey", who+"key") },
	},
	"basic-auth": {
		func(who string) string { return `{"username":"` + who + `","password":"` + who + `pw"}` },
		func(q *http.Request, _, who string) { q.SetBasicAuth(who, who+"pw") },
	},
	"jwt-auth": {
		func(who string) string {
			return `{"key":"` + who + `","secret":"` + who + `-a-secret-of-32-bytes-or-more"}`
		},
		func(q *http.Request, _, who string) {
			q.Header.Set("Authorization", jwt(`{"alg":"HS256","typ":"JWT"}`, `{"key":"`+who+`","exp":4102444800}`, who+"-a-secret-of-32-bytes-or-more"))
		},
	},
	"wolf-rbac": {
		func(who string) string { return `{"appid":"` + who + `","server":"$HTTP"}` },
		func(q *http.Request, _, who string) { q.Header.Set("Authorization", "V1#"+who+"#"+who+"wolf") },
	},
	"hmac-auth": {
		func(who string) string { return `{"key_id":"` + who + `","secret_key":"` + who + `sk"}` },
		func(q *http.Request, body, who string) {
			date := time.Now().UTC().Format(http.TimeFormat)
			sum := sha256.Sum256([]byte(body))
			digest := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
			q.Header.Set("Date", date)
			q.Header.Set("Digest", digest)
			text := who + "\n" + q.Method + " " + q.URL.RequestURI() + "\ndate: " + date + "\ndigest: " + digest + "\n"
			q.Header.Set("Authorization", fmt.Sprintf(`Signature keyId="%s",algorithm="hmac-sha256",headers="@request-target date digest",signature="%s"`,
				who, base64.StdEncoding.EncodeToString(mac(text, who+"sk"))))
		},
	},
}

func mac(text, key string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// jwt is a signed token.
func jwt(head, claims, secret string) string {
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(head)) + "." + enc([]byte(claims))
	return text + "." + enc(mac(text, secret))
}
