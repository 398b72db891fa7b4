package conf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("config.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n\n", "---\n"} {
		c := parse(t, text)
		if len(c.Plugins) != 107 {
			t.Errorf("%d plugins, want 107", len(c.Plugins))
		}
		if !c.DefaultPlugins {
			t.Error("the default plugins are taken for the user's")
		}
		if !c.EmbeddedStore || c.Provider != "etcd" || len(c.Warnings) != 0 {
			t.Errorf("embedded %v provider %q warnings %q", c.EmbeddedStore, c.Provider, c.Warnings)
		}
		if c.Nginx.HTTP.KeepaliveTimeout != time.Minute || c.Nginx.WorkerShutdownTimeout != 240*time.Second {
			t.Errorf("times %v %v", c.Nginx.HTTP.KeepaliveTimeout, c.Nginx.WorkerShutdownTimeout)
		}
		if c.Prometheus.ExportAddr.Port != 9091 || c.Sluice.Log.Level != "info" {
			t.Errorf("prometheus %+v log %+v", c.Prometheus, c.Sluice.Log)
		}
		var addrs []string
		for _, l := range c.Listeners() {
			addrs = append(addrs, string(l.Service)+" "+l.Addr)
		}
		want := []string{"http 0.0.0.0:9080", "http [::]:9080", "https 0.0.0.0:9443", "https [::]:9443",
			"admin 127.0.0.1:9180", "control 127.0.0.1:9090", "prometheus 127.0.0.1:9091"}
		if !slices.Equal(addrs, want) {
			t.Errorf("listeners %q", addrs)
		}
	}
}

func TestExampleFile(t *testing.T) {
	c, err := Load("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestMerge(t *testing.T) {
	t.Setenv("PORT", "1234")
	t.Setenv("ON", "true")
	t.Setenv("KEYNAME", "export_uri")
	c := parse(t, `
apisix:
  node_listen: "${{PORT}}"
  enable_ipv6: ${{ON}}
  router: {http: radixtree_uri}
  dns_resolver: null
  data_encryption: {keyring: "qeddd145sfvddff3"}
  max_post_args_readable_size: 1
nginx_config:
  http: {keepalive_timeout: 75, client_max_body_size: 2m, real_ip_recursive: on, charset: off, real_ip_from: []}
plugins: [key-auth]
plugin_attr:
  prometheus: {"${{KEYNAME}}": "/${{NOT_SET:= metrics }}", refresh_interval: 0.1}
deployment:
  admin: {allow_admin: ~, admin_key: [{name: a, key: 123456789, role: admin}]}
  etcd: {host: ["http://127.0.0.1:1"], prefix: /x, tls: {verify: false}}
`)
	if c.Apisix.NodeListen[0] != (NodeListen{Port: 1234}) || c.Apisix.Router != (Router{"radixtree_uri", "radixtree_sni"}) {
		t.Errorf("%+v", c.Apisix)
	}
	h := &c.Nginx.HTTP
	if h.KeepaliveTimeout != 75*time.Second || h.ClientMaxBodySize != 2<<20 || !bool(h.RealIPRecursive) ||
		h.Charset != "off" || len(h.RealIPFrom) != 0 {
		t.Errorf("%+v", h)
	}
	if c.Prometheus.ExportURI != "/metrics" || c.Prometheus.RefreshInterval != 100*time.Millisecond || c.Prometheus.ExportAddr.Port != 9091 {
		t.Errorf("%+v", c.Prometheus)
	}
	a := &c.Deployment.Admin
	if a.Allow != nil || a.Keys[0].Key != "123456789" {
		t.Errorf("%+v", a)
	}
	if c.EmbeddedStore || c.Deployment.Etcd.TLS.Verify || c.Deployment.Etcd.Timeout != 30*time.Second {
		t.Errorf("%+v", c.Deployment.Etcd)
	}
	if c.DefaultPlugins || !slices.Equal(c.Plugins, []string{"key-auth"}) || !slices.Equal(c.Apisix.DataEncryption.Keyring, []string{"qeddd145sfvddff3"}) {
		t.Errorf("%q %q", c.Plugins, c.Apisix.DataEncryption.Keyring)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"apisix: [", "config.yaml: invalid config.yaml file"},
		{"- 1", "config.yaml:1: invalid config.yaml file: a map is wanted"},
		{"\napisix:\n  router: 3", "config.yaml:3: failed to merge, path[apisix->router] expect: table, but got: number (3)"},
		{"apisix:\n  enable_admin: x", `config.yaml:2: failed to merge, path[apisix->enable_admin] expect: boolean, but got: string ("x")`},
		{"apisix:\n  node_listen: x", `path[apisix->node_listen] expect: table, but got: string`},
		{"apisix:\n  node_listen: 70000", "config.yaml:2: apisix.node_listen[0]: port out of range (1-65535): 70000"},
		{"apisix:\n  node_listen: [{port: x}]", `config.yaml:2: apisix.node_listen[0]: http listen port format error, must be number (value "x")`},
		{"apisix:\n  node_listen: [{enable_http2: true}]", "port level enable_http2 in node_listen is deprecated"},
		{"apisix:\n  id: ${{MISSING_VARIABLE}}", "config.yaml:2: failed to handle configuration: can't find environment variable MISSING_VARIABLE"},
		{"apisix:\n  proxy_mode: tcp", "config.yaml:2: apisix.proxy_mode: tcp: one of http, stream, http&stream is wanted"},
		{"apisix:\n  id: a\n  id: b", `config.yaml:3: key "id" was already given in line 2`},
		{"apisix:\n  data_encryption:\n    keyring: [short]", "config.yaml:3: apisix.data_encryption.keyring: entry 0: failed to validate config: a key of exactly 16 or 32"},
		{"apisix:\n  trusted_addresses: [10.0.0.0/99]", `config.yaml:2: apisix.trusted_addresses[0]: "10.0.0.0/99": an IP address`},
		{"apisix:\n  stream_proxy: {tcp: ['9-1']}", "invalid port range (start > end): 9-1"},
		{"apisix:\n  stream_proxy: {udp: [99999]}", "port out of range (1-65535): 99999"},
		{"apisix:\n  stream_proxy: {tcp: ['x:1']}", `invalid stream_proxy entry: "x:1"`},
		{"apisix:\n  control: {port: 9180}", "control port 9180 conflicts with admin port"},
		{"apisix:\n  node_listen: 9090", "http listen port 9090 conflicts with control port"},
		{"nginx_config:\n  http:\n    send_timeout: soon", `config.yaml:3: nginx_config.http.send_timeout: "soon": a time such as 60s`},
		{"nginx_config:\n  http:\n    client_max_body_size: 3x", "a size such as 4096"},
		{"deployment:\n  role: x", "config.yaml:2: deployment.role: x: "},
		{"deployment:\n  role: data_plane", "deployment.role_data_plane.config_provider"},
		{"deployment:\n  role_traditional: {config_provider: json}", "config.yaml:2: deployment.role_traditional.config_provider: json: invalid deployment traditional configuration"},
		{"deployment:\n  etcd: {host: ['127.0.0.1:1']}", "malformed etcd endpoint"},
		{"deployment:\n  admin:\n    admin_key: [{name: a, key: " + PublishedAdminKey + ", role: admin}]", "config.yaml:3: deployment.admin.admin_key: a: this key is published"},
		{"deployment:\n  admin: {admin_key: ~, allow_admin: ~}", "ERROR: missing valid Admin API token."},
		{"deployment:\n  admin: {https_admin: true}", "missing ssl cert for https admin"},
		{"plugins: 3", "path[plugins] expect: table, but got: number"},
		{"plugins: [{a: b}]", "config.yaml:1: plugins[0]: a string is wanted, not a map"},
		{"sluice:\n  data_dri: x", `config.yaml:2: sluice.data_dri: unknown key (value "x")`},
		{"sluice: {limits: {header_bytes: 1}}", "sluice.limits.header_bytes: 1: at least 1024 is wanted"},
		{"sluice: {store_backend: 'oracle:secret'}", "sluice.store_backend: oracle: one of memory, memory:PATH, sqlite://PATH"},
		{"sluice: {store_backend: memory, cluster: {members: {a: 'http://127.0.0.1:1'}}}", "sluice.cluster.members: 1: sluice.store_backend is no etcd"},
		{"sluice: {store_listen: 2379}", "failed to merge, path[sluice->store_listen]"},
		{"apisix:\n  proxy_cache: {zones: [{name: a, memory_size: 1m, disk_size: 1m}]}", "apisix.proxy_cache.zones: a: failed to validate config"},
		{"apisix:\n  proxy_cache: {zones: [{name: a, memory_size: 1m, disk_size: 1m, disk_path: x, cache_levels: '3'}]}", "cache_levels has to be"},
		{"apisix:\n  proxy_cache: {zones: [{name: a, memory_size: 1m}, {name: a, memory_size: 1m}]}", "another zone has the same name"},
		{"apisix:\n  proxy_cache: {zones: [{name: a, memory_size: 1m, disk_size: 1m, disk_path: x, cache_levels: '1'}," +
			" {name: b, memory_size: 1m, disk_size: 1m, disk_path: x/, cache_levels: '1'}]}", "apisix.proxy_cache.zones: b: another zone has the same"},
		{"a: &a [*a]", "config.yaml"},
		{"a: &a {x: 1}\nb: &b {c: *a, d: *a}\napisix: {router: *b}", ""},
	} {
		_, err := Parse("config.yaml", []byte(tt.text))
		switch {
		case tt.want == "":
			if err != nil {
				t.Errorf("%q: %v", tt.text, err)
			}
		case err == nil:
			t.Errorf("%q: no error, want %q", tt.text, tt.want)
		case !strings.Contains(err.Error(), tt.want):
			t.Errorf("%q: error %q, want %q", tt.text, err, tt.want)
		case strings.Contains(err.Error(), PublishedAdminKey):
			t.Errorf("%q: the error shows a key", tt.text)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := parse(t, `
apisix: {enable_reuseport: false, frobnicate: 1}
nginx_config: {worker_rlimit_nofile: 10, http_configuration_snippet: "gzip on;", stream_configuration_snippet: ""}
etcd: {host: [x]}
deployment: {admin: {admin_key_required: false}}
`)
	all := strings.Join(c.Warnings, "\n")
	for _, want := range []string{"config.yaml:2: apisix.enable_reuseport has no effect", "apisix.frobnicate has no effect: unknown key",
		"config.yaml:3: nginx_config.http_configuration_snippet has no effect", "config.yaml:4: etcd has no effect", "Admin key is bypassed!"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "stream_configuration_snippet") {
		t.Errorf("an empty snippet is reported:\n%s", all)
	}
	if c.Deployment.Admin.Keys != nil {
		t.Error("keys are kept though none is required")
	}
}

func TestRoles(t *testing.T) {
	c := parse(t, "apisix: {enable_admin: true}\ndeployment: {role: data_plane, role_data_plane: {config_provider: yaml}}")
	if c.ServesAdmin() || !c.ServesHTTP() || c.Provider != "yaml" || c.EmbeddedStore {
		t.Errorf("%+v", c.Deployment)
	}
	if got := c.ResourceFile(); got != "apisix.yaml" {
		t.Errorf("resource file %q", got)
	}
	c = parse(t, "apisix: {enable_admin: false}\ndeployment: {role: control_plane, role_control_plane: {config_provider: etcd}}")
	if !c.ServesAdmin() || c.ServesHTTP() {
		t.Errorf("%+v", c.Deployment)
	}
}

func TestEtcdHostFromEnvironment(t *testing.T) {
	t.Setenv("APISIX_DEPLOYMENT_ETCD_HOST", `["http://127.0.0.1:3"]`)
	if c := parse(t, ""); c.EmbeddedStore || c.Deployment.Etcd.Host[0] != "http://127.0.0.1:3" {
		t.Errorf("%+v", c.Deployment.Etcd)
	}
	t.Setenv("APISIX_DEPLOYMENT_ETCD_HOST", `http://x`)
	if c := parse(t, ""); !c.EmbeddedStore || len(c.Warnings) != 1 {
		t.Errorf("%q", c.Warnings)
	}
}

func TestLoad(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load("no.yaml"); err == nil || !strings.Contains(err.Error(), "no.yaml") {
		t.Errorf("a file that was named and is missing: %v", err)
	}
	if c, err := Load(""); err != nil || c.File != "" {
		t.Errorf("no file at all: %v", err)
	}
	os.Mkdir("conf", 0o755)
	os.WriteFile("conf/config-dev.yaml", []byte("apisix: {id: dev}"), 0o644)
	t.Setenv("APISIX_PROFILE", "dev")
	c, err := Load("")
	if err != nil || c.Apisix.ID != "dev" {
		t.Fatalf("profile: %v", err)
	}
	c.Provider = "yaml"
	if got := c.ResourceFile(); got != "conf/apisix-dev.yaml" {
		t.Errorf("resource file %q", got)
	}
}

func TestAdminKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := parse(t, "sluice: {data_dir: "+dir+"}")
	made, err := c.EnsureAdminKey()
	if err != nil || len(made) != 32 || c.Deployment.Admin.Keys[0].Key != made {
		t.Fatalf("made %q: %v", made, err)
	}
	if st, err := os.Stat(c.AdminKeyFile()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	again := parse(t, "sluice: {data_dir: "+dir+"}")
	if m, err := again.EnsureAdminKey(); err != nil || m != "" || again.Deployment.Admin.Keys[0].Key != made {
		t.Errorf("second start: made %q, key changed or %v", m, err)
	}
	os.WriteFile(c.AdminKeyFile(), []byte("short\n"), 0o600)
	if _, err := parse(t, "sluice: {data_dir: "+dir+"}").EnsureAdminKey(); err == nil {
		t.Error("a short key was accepted")
	}
	id, err := c.InstanceID()
	if again, err2 := c.InstanceID(); err != nil || err2 != nil || id != again || len(id) != 36 {
		t.Errorf("instance id %q then %q: %v %v", id, again, err, err2)
	}
}

func TestUnits(t *testing.T) {
	for s, want := range map[string]time.Duration{"60": time.Minute, "1h30m": 90 * time.Minute, "10ms": 10 * time.Millisecond,
		"0.1": 100 * time.Millisecond, "1d": 24 * time.Hour, "1m 30s": 90 * time.Second, "0": 0} {
		if got, err := parseTime(s); err != nil || got != want {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "-1", "1q", "1s s", "99999999999999999999s", "NaN"} {
		if got, err := parseTime(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
	for s, want := range map[string]Size{"0": 0, "1k": 1024, "50m": 50 << 20, "1G": 1 << 30} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "m", "-1", "1t", "9999999999999G"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("apisix: {node_listen: 1}")
	f.Add("a: &a [*a]")
	f.Add("a: &a {b: 1}\nc: {<<: *a}")
	f.Add(string(defaults))
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := Parse("config.yaml", []byte(text)); err == nil {
			c.Listeners()
		}
	})
}
