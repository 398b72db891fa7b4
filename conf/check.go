package conf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// PublishedAdminKey is the key of APISIX's old example configuration, known to
// everybody who scans for open gateways.
const PublishedAdminKey = "edd1c9f034335f136f87ad84b625c8f1"

// finish derives what follows from the settings and checks what the types
// alone cannot. root is only asked for lines.
func (c *Config) finish(root *node) error {
	if n := root.at("plugin_attr", "prometheus"); n != nil {
		c.Prometheus = PrometheusAttr{ExportURI: "/apisix/prometheus/metrics", MetricPrefix: "apisix_"}
		if err := newDecoder(nil).object(n, reflect.ValueOf(&c.Prometheus).Elem(), "plugin_attr.prometheus"); err != nil {
			return err
		}
	}
	at := func(path string, value any, format string, args ...any) error {
		n := root
		for _, key := range strings.Split(path, ".") {
			if m := n.at(key); m != nil {
				n = m
			}
		}
		return n.errorf("%s: %v: %w", path, value, fmt.Errorf(format, args...))
	}
	c.logLevel(root)
	for _, check := range []func(placed) error{c.role, c.enums, c.keys, c.files, c.plugins, c.ports, c.networks, c.bounds} {
		if err := check(at); err != nil {
			return err
		}
	}
	return nil
}

// logLevel lets nginx_config.error_log_level of the user's file decide when
// sluice.log.level does not.
func (c *Config) logLevel(root *node) {
	if c.Sluice.Log.Level != "" {
		return
	}
	c.Sluice.Log.Level = "info"
	n := root.at("nginx_config", "error_log_level")
	if n == nil || n.file == defaultsFile {
		return
	}
	switch n.text {
	case "debug", "warn":
		c.Sluice.Log.Level = n.text
	case "error", "crit", "alert", "emerg":
		c.Sluice.Log.Level = "error"
	}
}

// storeBackend is what sluice.store_backend may be.
var storeBackend = regexp.MustCompile(`^(memory(:.+)?|(sqlite|postgres|postgresql|mysql)://.+)$`)

// placed makes an error about the value of a key.
type placed func(path string, value any, format string, args ...any) error

func (c *Config) role(at placed) error {
	d := &c.Deployment
	allowed, path, r := "etcd, yaml", "role_traditional", &d.RoleTraditional
	switch d.Role {
	case "traditional", "standalone":
	case "control_plane":
		allowed, path, r = "etcd", "role_control_plane", &d.RoleControlPlane
		c.Apisix.EnableAdmin = true
	case "data_plane":
		allowed, path, r = "etcd, yaml, json", "role_data_plane", &d.RoleDataPlane
		c.Apisix.EnableAdmin = false
	default:
		return at("deployment.role", d.Role, "failed to validate config: "+
			"traditional, control_plane, data_plane or standalone is wanted")
	}
	path = "deployment." + path + ".config_provider"
	if r.Provider == "" && d.Role != "traditional" && d.Role != "standalone" {
		return at(path, `""`, "invalid deployment %s configuration: it is required", d.Role)
	}
	if r.Provider == "" {
		r.Provider = "etcd"
	}
	if !strings.Contains(", "+allowed+",", ", "+r.Provider+",") {
		return at(path, r.Provider, "invalid deployment %s configuration: one of %s is wanted", d.Role, allowed)
	}
	c.Provider = r.Provider
	c.EmbeddedStore = c.EmbeddedStore && c.Provider == "etcd"
	if os.Getenv("APISIX_STAND_ALONE") == "true" && c.Provider == "etcd" {
		return fmt.Errorf("APISIX_STAND_ALONE is set to 'true' but config_provider is '%s'\n"+
			"For standalone mode, config_provider must be 'yaml' or 'json'\nCurrent role: %s", c.Provider, d.Role)
	}
	if c.EmbeddedStore && d.Role == "data_plane" {
		return at("deployment.etcd.host", "not set", "a data plane needs the address of its etcd")
	}
	return nil
}

func (c *Config) enums(at placed) error {
	for _, e := range []struct{ path, value, allowed string }{
		{"apisix.router.http", c.Apisix.Router.HTTP, "radixtree_host_uri radixtree_uri radixtree_uri_with_parameter"},
		{"apisix.router.ssl", c.Apisix.Router.SSL, "radixtree_sni"},
		{"apisix.proxy_mode", c.Apisix.ProxyMode, "http stream http&stream"},
		{"nginx_config.error_log_level", c.Nginx.ErrorLogLevel, "debug info notice warn error crit alert emerg"},
		{"sluice.engine", c.Sluice.Engine, "loops parked plain"},
		{"sluice.log.format", c.Sluice.Log.Format, "text json"},
	} {
		if !strings.Contains(" "+e.allowed+" ", " "+e.value+" ") || e.value == "" {
			return at(e.path, e.value, "one of %s is wanted", strings.ReplaceAll(e.allowed, " ", ", "))
		}
	}
	t := &c.Sluice.PluginTimeline
	for path, name := range map[string]string{"sluice.plugin_timeline.header": t.Header, "sluice.plugin_timeline.trigger": t.Trigger} {
		if name != "" && !fieldName.MatchString(name) {
			return at(path, fmt.Sprintf("%q", name), "the name of a header field is wanted")
		}
	}
	switch c.Sluice.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return at("sluice.log.level", c.Sluice.Log.Level, "one of debug, info, warn, error is wanted")
	}
	return nil
}

// keys checks the keys of the Admin API and those of data encryption.
func (c *Config) keys(at placed) error {
	a := &c.Deployment.Admin
	for i, k := range c.Apisix.DataEncryption.Keyring {
		if len(k) != 16 && len(k) != 32 {
			return at("apisix.data_encryption.keyring", fmt.Sprintf("entry %d", i), "failed to validate config: "+
				"a key of exactly 16 or 32 characters is wanted, this one has %d", len(k))
		}
	}
	if !c.ServesAdmin() {
		return nil
	}
	for _, k := range a.Keys {
		if k.Role != "admin" && k.Role != "viewer" {
			return at("deployment.admin.admin_key", k.Role, "role admin or viewer is wanted")
		}
		if k.Key == PublishedAdminKey && !c.Sluice.AllowPublishedAdminKey {
			return at("deployment.admin.admin_key", k.Name, "this key is published in APISIX's documentation, so anybody "+
				"may know it; choose another, or set sluice.allow_published_admin_key: true")
		}
	}
	switch {
	case !a.KeyRequired:
		a.Keys = nil
		c.Warnings = append(c.Warnings, "Admin key is bypassed! If this is a production environment, "+
			"enable deployment.admin.admin_key_required and set a secure admin key")
	case len(a.Keys) == 0 && !c.defaultAllow():
		return at("deployment.admin.admin_key", "not set", "ERROR: missing valid Admin API token.")
	case len(a.Keys) == 0:
		c.Warnings = append(c.Warnings, "deployment.admin.admin_key is empty: "+
			"everybody whom deployment.admin.allow_admin lets in may use the Admin API")
	}
	return nil
}

// defaultAllow says whether only this machine may use the Admin API.
func (c *Config) defaultAllow() bool {
	allow := c.Deployment.Admin.Allow
	return len(allow) == 1 && allow[0].String() == "127.0.0.0/24"
}

func (c *Config) files(at placed) error {
	a := &c.Deployment.Admin
	if c.ServesAdmin() && a.HTTPS && (a.MTLS.Cert == "" || a.MTLS.Key == "") {
		return at("deployment.admin.https_admin", true, "missing ssl cert for https admin")
	}
	if ca := c.Apisix.SSL.TrustedCertificate; ca != "system" && ca != "" {
		if _, err := os.Stat(ca); err != nil {
			return at("apisix.ssl.ssl_trusted_certificate", ca, "certificate path %s doesn't exist", ca)
		}
	}
	for _, p := range []string{c.Apisix.ExtraLuaPath, c.Apisix.ExtraLuaCpath} {
		if len(p) == 1 {
			return at("apisix.extra_lua_path", p, "invalid extra_lua_path/extra_lua_cpath: %q", p)
		}
	}
	return nil
}

func (c *Config) plugins(at placed) error {
	has := func(list []string, name string) bool {
		for _, p := range list {
			if p == name {
				return true
			}
		}
		return false
	}
	switch {
	case has(c.Plugins, "proxy-cache") && c.Apisix.ProxyCache == nil:
		return at("apisix.proxy_cache", "not set", "missing apisix.proxy_cache for plugin proxy-cache")
	case has(c.Plugins, "batch-requests") && !c.passesLoopback():
		return at("nginx_config.http.real_ip_from", c.Nginx.HTTP.RealIPFrom,
			"missing loopback or unspecified in the nginx_config.http.real_ip_from for plugin batch-requests")
	case has(c.StreamPlugins, "prometheus") && !c.Prometheus.EnableExportServer:
		return at("stream_plugins", "prometheus", "L4 prometheus metric should be exposed via export server")
	}
	if c.Apisix.ProxyCache == nil {
		return nil
	}
	return zones(c.Apisix.ProxyCache.Zones, at)
}

// zones checks apisix.proxy_cache.zones.
func zones(list []CacheZone, at placed) error {
	names, paths := map[string]bool{}, map[string]bool{}
	for _, z := range list {
		disk := z.DiskSize > 0 && z.DiskPath != "" && z.Levels != ""
		memory := z.DiskSize == 0 && z.DiskPath == "" && z.Levels == ""
		if z.Name == "" || z.MemorySize == 0 || !disk && !memory {
			return at("apisix.proxy_cache.zones", z.Name, "failed to validate config: a zone has name and memory_size, "+
				"and on disk also disk_size, disk_path and cache_levels")
		}
		if disk && !cacheLevels.MatchString(z.Levels) {
			return at("apisix.proxy_cache.zones", z.Levels, "cache_levels has to be one to three numbers of 1 or 2, such as 1:2")
		}
		if path := filepath.Clean(z.DiskPath); names[z.Name] || disk && paths[path] {
			return at("apisix.proxy_cache.zones", z.Name, "another zone has the same name or disk_path")
		} else if disk {
			paths[path] = true
		}
		names[z.Name] = true
	}
	return nil
}

var cacheLevels = regexp.MustCompile(`^[12](:[12]){0,2}$`)

func (c *Config) passesLoopback() bool {
	for _, s := range c.Nginx.HTTP.RealIPFrom {
		if p, err := parseNetwork(s); err == nil && (p.Addr().IsLoopback() || p.Addr().IsUnspecified()) {
			return true
		}
	}
	return false
}

// ports refuses two services on one port, with APISIX's words. The data
// listeners come last: a clash between the two is theirs. Among themselves they
// may share a port on different addresses.
func (c *Config) ports(at placed) error {
	names := map[Service]string{AdminAPI: "admin port", ControlAPI: "control port", Status: "status port",
		Metrics: "prometheus port", HTTP: "http listen port", HTTPS: "https listen port"}
	owner := map[string]string{} // of a port, or of an address
	isData := func(l Listener) bool { return l.Service == HTTP || l.Service == HTTPS }
	ls := c.Listeners()
	slices.SortStableFunc(ls, func(a, b Listener) int {
		switch {
		case isData(a) == isData(b):
			return 0
		case isData(b):
			return -1
		}
		return 1
	})
	for _, l := range ls {
		_, port, _ := net.SplitHostPort(l.Addr)
		if other := cmp.Or(owner[port], owner[l.Addr]); other != "" {
			return at(strings.SplitN(l.Key, "[", 2)[0], port, "%s %s conflicts with %s", names[l.Service], port, other)
		}
		if isData(l) {
			port = l.Addr
		}
		owner[port] = names[l.Service]
	}
	return nil
}

var etcdHost = regexp.MustCompile(`^https?://[^/]`)

func (c *Config) networks(at placed) error {
	for i, h := range c.Deployment.Etcd.Host {
		if !etcdHost.MatchString(h) {
			return at("deployment.etcd.host", h, "failed to validate config: malformed etcd endpoint %d: %s", i, h)
		}
	}
	for path, list := range map[string][]string{"nginx_config.http.real_ip_from": c.Nginx.HTTP.RealIPFrom,
		"nginx_config.stream.real_ip_from": c.Nginx.Stream.RealIPFrom} {
		for _, s := range list {
			if _, err := parseNetwork(s); err != nil && s != "unix:" {
				return at(path, s, "%w", err)
			}
		}
	}
	for _, s := range c.Nginx.Envs {
		if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 }) {
			return at("nginx_config.envs", fmt.Sprintf("%q", s), "control characters are not allowed")
		}
	}
	if host, port, err := net.SplitHostPort(c.Sluice.StoreListen); err != nil || net.ParseIP(host) == nil || port == "" {
		return at("sluice.store_listen", c.Sluice.StoreListen, "an address such as 127.0.0.1:2379 is wanted")
	}
	return c.cluster(at)
}

// cluster checks what only the built-in etcd reads.
func (c *Config) cluster(at placed) error {
	for path, t := range map[string]StoreTLS{"sluice.store_tls": c.Sluice.StoreTLS, "sluice.cluster.peer_tls": c.Sluice.Cluster.PeerTLS} {
		if (t.Cert == "") != (t.Key == "") || t.CA != "" && t.Cert == "" {
			return at(path, fmt.Sprintf("cert %q, key %q, ca %q", t.Cert, t.Key, t.CA), "cert and key are wanted")
		}
	}
	l := &c.Sluice.Cluster
	if b := c.Sluice.StoreBackend; b != "" && !storeBackend.MatchString(b) {
		kind, _, _ := strings.Cut(b, ":") // there may be a password in the rest
		return at("sluice.store_backend", kind, "one of memory, memory:PATH, sqlite://PATH, postgres://…, mysql://… is wanted")
	} else if b != "" && len(l.Members) > 0 {
		return at("sluice.cluster.members", len(l.Members), "sluice.store_backend is no etcd that could have members")
	}
	if len(l.Members) == 0 {
		if l.Name != "" || l.PeerListen != "" || l.Joining {
			return at("sluice.cluster.members", "{}", "the members of the cluster are wanted")
		}
		return nil
	}
	if l.Members[l.Name] == "" {
		return at("sluice.cluster.name", fmt.Sprintf("%q", l.Name), "one of the members is wanted")
	}
	for name, url := range l.Members {
		if !etcdHost.MatchString(url) {
			return at("sluice.cluster.members."+name, url, "a URL such as http://10.0.0.1:2380 is wanted")
		}
		if strings.HasPrefix(url, "https:") && l.PeerTLS.Cert == "" {
			return at("sluice.cluster.peer_tls.cert", `""`, "%s needs one", url)
		}
	}
	if host, port, err := net.SplitHostPort(l.PeerListen); err != nil || net.ParseIP(host) == nil || port == "" {
		return at("sluice.cluster.peer_listen", fmt.Sprintf("%q", l.PeerListen), "an address such as 10.0.0.1:2380 is wanted")
	}
	return nil
}

// fieldName is the name of a header field.
var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *Config) bounds(at placed) error {
	l := &c.Sluice.Limits
	for _, b := range []struct {
		path      string
		value, lo int64
	}{
		{"sluice.limits.header_bytes", int64(l.HeaderBytes), 1024},
		{"sluice.limits.header_fields", int64(l.HeaderFields), 10},
		{"sluice.limits.body_memory", int64(l.BodyMemory), 4096},
		{"sluice.limits.body_file", int64(l.BodyFile), 0},
		{"apisix.max_post_args_readable_size", int64(c.Apisix.MaxPostArgsReadableSize), 0},
		{"graphql.max_size", int64(c.GraphQL.MaxSize), 1},
		{"deployment.etcd.timeout", int64(c.Deployment.Etcd.Timeout), 1},
	} {
		if b.value < b.lo {
			return at(b.path, b.value, "at least %d is wanted", b.lo)
		}
	}
	if c.Sluice.DataDir == "" {
		return at("sluice.data_dir", `""`, "a folder is wanted")
	}
	return nil
}

// etcdHostFromEnv lets APISIX_DEPLOYMENT_ETCD_HOST, a JSON list, replace
// deployment.etcd.host; a text that is no such list is reported and ignored.
func etcdHostFromEnv(base *node) []string {
	text := os.Getenv("APISIX_DEPLOYMENT_ETCD_HOST")
	etcd := base.at("deployment", "etcd")
	if text == "" || etcd == nil {
		return nil
	}
	var hosts []string
	err := json.Unmarshal([]byte(text), &hosts)
	if err == nil && len(hosts) == 0 {
		err = errors.New("the list is empty")
	}
	if err != nil {
		return []string{"parse ${APISIX_DEPLOYMENT_ETCD_HOST} failed, error: " + err.Error()}
	}
	list := &node{kind: kindList, file: "APISIX_DEPLOYMENT_ETCD_HOST", line: 1}
	for _, h := range hosts {
		list.list = append(list.list, &node{kind: kindString, text: h, file: list.file, line: 1})
	}
	etcd.set("host", list)
	return nil
}
