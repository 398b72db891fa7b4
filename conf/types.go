package conf

import (
	"net/netip"
	"time"
)

// Size is a number of bytes; in the file a number, or text with the unit k, m or g.
type Size int64

// Switch is a boolean that may also be written "on" or "off".
type Switch bool

// Address is where something listens.
type Address struct {
	IP   string `conf:"ip"`
	Port int    `conf:"port"`
}

// Apisix is the section apisix: what the gateway itself does.
type Apisix struct {
	NodeListen              []NodeListen   `conf:"node_listen"`
	EnableAdmin             bool           `conf:"enable_admin"`
	ShowUpstreamStatus      bool           `conf:"show_upstream_status_in_response_header"`
	EnableIPv6              bool           `conf:"enable_ipv6"`
	EnableHTTP2             bool           `conf:"enable_http2"`
	ProxyProtocol           ProxyProtocol  `conf:"proxy_protocol"`
	EnableServerTokens      bool           `conf:"enable_server_tokens"`
	ExtraLuaPath            string         `conf:"extra_lua_path"`
	ExtraLuaCpath           string         `conf:"extra_lua_cpath"`
	ProxyCache              *ProxyCache    `conf:"proxy_cache"`
	DeleteURITailSlash      bool           `conf:"delete_uri_tail_slash"`
	NormalizeURILikeServlet bool           `conf:"normalize_uri_like_servlet"`
	MatchURIEncodedSlash    bool           `conf:"match_uri_encoded_slash"`
	MaxPostArgsReadableSize int            `conf:"max_post_args_readable_size"` // MiB, 0: no limit
	Router                  Router         `conf:"router"`
	ProxyMode               string         `conf:"proxy_mode"` // http, stream or http&stream
	StreamProxy             StreamProxy    `conf:"stream_proxy"`
	DNSResolver             []string       `conf:"dns_resolver"`       // nil: those of resolv.conf
	DNSResolverValid        int            `conf:"dns_resolver_valid"` // seconds; 0: the records' own TTL
	ResolverTimeout         time.Duration  `conf:"resolver_timeout"`
	EnableResolvSearchOpt   bool           `conf:"enable_resolv_search_opt"`
	SSL                     SSL            `conf:"ssl"`
	EnableControl           bool           `conf:"enable_control"`
	Control                 Address        `conf:"control"`
	Status                  *Address       `conf:"status"` // nil: no status server
	DataEncryption          DataEncryption `conf:"data_encryption"`
	DisableHealthcheck      bool           `conf:"disable_upstream_healthcheck"`
	TrustedAddresses        []netip.Prefix `conf:"trusted_addresses"`
	LRU                     struct {
		Secret SecretCache `conf:"secret"`
	} `conf:"lru"`
	Tracing bool   `conf:"tracing"`
	ID      string `conf:"id"`
}

// NodeListen is one plain HTTP listener. IP is "" when the user gave none.
type NodeListen struct {
	IP   string `conf:"ip"`
	Port int    `conf:"port"`
}

// ProxyProtocol says where the PROXY protocol is expected or sent; port 0 is none.
type ProxyProtocol struct {
	HTTPPort    int  `conf:"listen_http_port"`
	HTTPSPort   int  `conf:"listen_https_port"`
	TCP         bool `conf:"enable_tcp_pp"`
	TCPUpstream bool `conf:"enable_tcp_pp_to_upstream"`
}

// ProxyCache holds the zones of proxy-cache.
type ProxyCache struct {
	TTL   time.Duration `conf:"cache_ttl"`
	Zones []CacheZone   `conf:"zones"`
}

// CacheZone is one cache; without a DiskPath it lies in memory.
type CacheZone struct {
	Name       string `conf:"name"`
	MemorySize Size   `conf:"memory_size"`
	DiskSize   Size   `conf:"disk_size"`
	DiskPath   string `conf:"disk_path"`
	Levels     string `conf:"cache_levels"`
}

// Router names how routes and certificates are looked up.
type Router struct {
	HTTP string `conf:"http"`
	SSL  string `conf:"ssl"`
}

// StreamProxy lists the TCP and UDP listeners.
type StreamProxy struct {
	TCP []StreamListen `conf:"tcp"`
	UDP []StreamListen `conf:"udp"`
}

// StreamListen is one entry of stream_proxy: a port, or a range of them.
type StreamListen struct {
	IP          string // "" when the user gave none
	First, Last int    // equal for a single port
	TLS         bool
	// Proxy and ProxyUpstream are nil when the entry leaves them to proxy_protocol.
	Proxy, ProxyUpstream *bool
}

// SSL is the TLS side of the data plane.
type SSL struct {
	Enable             bool        `conf:"enable"`
	Listen             []SSLListen `conf:"listen"`
	TrustedCertificate string      `conf:"ssl_trusted_certificate"` // "system", or a file
	Protocols          string      `conf:"ssl_protocols"`
	Ciphers            string      `conf:"ssl_ciphers"`
	SessionTickets     bool        `conf:"ssl_session_tickets"`
	FallbackSNI        string      `conf:"fallback_sni"`
}

// SSLListen is one TLS listener. IP is "" when the user gave none.
type SSLListen struct {
	IP          string `conf:"ip"`
	Port        int    `conf:"port"`
	EnableHTTP3 bool   `conf:"enable_http3"`
}

// DataEncryption says how secrets lie in the store.
type DataEncryption struct {
	Enable  bool     `conf:"enable_encrypt_fields"`
	Keyring []string `conf:"keyring"` // 16 or 32 bytes each; the first one encrypts
}

// SecretCache bounds the cache of resolved secrets. Times are seconds.
type SecretCache struct {
	TTL      int `conf:"ttl"`
	Count    int `conf:"count"`
	NegTTL   int `conf:"neg_ttl"`
	NegCount int `conf:"neg_count"`
}

// Nginx is the section nginx_config, as far as it means something here.
type Nginx struct {
	ErrorLog              string        `conf:"error_log"` // a file, or "stderr"
	ErrorLogLevel         string        `conf:"error_log_level"`
	WorkerProcesses       string        `conf:"worker_processes"`
	WorkerShutdownTimeout time.Duration `conf:"worker_shutdown_timeout"`
	Envs                  []string      `conf:"envs"`
	Stream                NginxStream   `conf:"stream"`
	HTTP                  NginxHTTP     `conf:"http"`
}

// NginxStream is nginx_config.stream.
type NginxStream struct {
	EnableAccessLog bool     `conf:"enable_access_log"`
	AccessLog       string   `conf:"access_log"`
	AccessLogFormat string   `conf:"access_log_format"`
	AccessLogEscape string   `conf:"access_log_format_escape"`
	RealIPFrom      []string `conf:"real_ip_from"`
}

// NginxHTTP is nginx_config.http.
type NginxHTTP struct {
	EnableAccessLog     bool          `conf:"enable_access_log"`
	AccessLog           string        `conf:"access_log"`
	AccessLogBuffer     Size          `conf:"access_log_buffer"`
	AccessLogFormat     string        `conf:"access_log_format"`
	AccessLogEscape     string        `conf:"access_log_format_escape"`
	KeepaliveTimeout    time.Duration `conf:"keepalive_timeout"`
	ClientHeaderTimeout time.Duration `conf:"client_header_timeout"`
	ClientBodyTimeout   time.Duration `conf:"client_body_timeout"`
	SendTimeout         time.Duration `conf:"send_timeout"`
	ClientMaxBodySize   Size          `conf:"client_max_body_size"` // 0: no limit
	UnderscoresInHeader Switch        `conf:"underscores_in_headers"`
	RealIPHeader        string        `conf:"real_ip_header"`
	RealIPRecursive     Switch        `conf:"real_ip_recursive"`
	RealIPFrom          []string      `conf:"real_ip_from"` // addresses, networks, or "unix:"
	ProxySSLServerName  bool          `conf:"proxy_ssl_server_name"`
	Upstream            struct {
		Keepalive         int           `conf:"keepalive"`
		KeepaliveRequests int           `conf:"keepalive_requests"`
		KeepaliveTimeout  time.Duration `conf:"keepalive_timeout"`
	} `conf:"upstream"`
	LuaSharedDict       map[string]Size `conf:"lua_shared_dict"`
	CustomLuaSharedDict map[string]Size `conf:"custom_lua_shared_dict"`

	Charset string `conf:"charset"` // "off": none is added
}

// GraphQL bounds what the graphql_* variables read.
type GraphQL struct {
	MaxSize int `conf:"max_size"` // bytes
}

// ExtPlugin is the external plugin runner.
type ExtPlugin struct {
	Cmd         []string `conf:"cmd"`
	PathForTest string   `conf:"path_for_test"`
}

// Wasm lists the proxy-wasm plugins.
type Wasm struct {
	Plugins []WasmPlugin `conf:"plugins"`
}

// WasmPlugin is one proxy-wasm plugin.
type WasmPlugin struct {
	Name     string `conf:"name"`
	File     string `conf:"file"`
	Priority int    `conf:"priority"`
	Phase    string `conf:"http_request_phase"` // access (default) or rewrite
}

// XRPC lists the application protocols of stream routes.
type XRPC struct {
	Protocols []struct {
		Name string `conf:"name"`
	} `conf:"protocols"`
}

// Deployment says what this instance is part of.
type Deployment struct {
	Role             string `conf:"role"`
	RoleTraditional  Role   `conf:"role_traditional"`
	RoleControlPlane Role   `conf:"role_control_plane"`
	RoleDataPlane    Role   `conf:"role_data_plane"`
	Admin            Admin  `conf:"admin"`
	Etcd             Etcd   `conf:"etcd"`
}

// Role is what one role may set.
type Role struct {
	Provider string `conf:"config_provider"`
}

// Admin is the Admin API.
type Admin struct {
	KeyRequired bool           `conf:"admin_key_required"`
	Keys        []AdminKey     `conf:"admin_key"` // empty: no authentication at all
	EnableCORS  bool           `conf:"enable_admin_cors"`
	EnableUI    bool           `conf:"enable_admin_ui"`
	Allow       []netip.Prefix `conf:"allow_admin"` // nil: everybody
	Listen      Address        `conf:"admin_listen"`
	HTTPS       bool           `conf:"https_admin"`
	MTLS        struct {
		Cert string `conf:"admin_ssl_cert"`
		Key  string `conf:"admin_ssl_cert_key"`
		CA   string `conf:"admin_ssl_ca_cert"`
	} `conf:"admin_api_mtls"`
	Version string `conf:"admin_api_version"`
}

// AdminKey lets its holder use the Admin API as role admin or viewer. An empty
// Key is replaced by Config.AdminKey.
type AdminKey struct {
	Name string `conf:"name"`
	Key  string `conf:"key"`
	Role string `conf:"role"`
}

// Etcd is the cluster that holds the dynamic configuration.
type Etcd struct {
	Host               []string      `conf:"host"`
	Prefix             string        `conf:"prefix"`
	Timeout            time.Duration `conf:"timeout"`
	WatchTimeout       time.Duration `conf:"watch_timeout"`
	ResyncDelay        time.Duration `conf:"resync_delay"`
	HealthCheckTimeout time.Duration `conf:"health_check_timeout"`
	StartupRetry       int           `conf:"startup_retry"`
	User               string        `conf:"user"`
	Password           string        `conf:"password"`
	TLS                struct {
		Cert   string `conf:"cert"`
		Key    string `conf:"key"`
		Verify bool   `conf:"verify"`
		SNI    string `conf:"sni"`
	} `conf:"tls"`
}

// Sluice holds the settings that APISIX does not have.
type Sluice struct {
	DataDir     string `conf:"data_dir"`
	StoreListen string `conf:"store_listen"`
	// StoreBackend names a store that takes the place of the built-in etcd, as
	// sluice etcd-adapter takes it; "": none does. It may have a password.
	StoreBackend string `conf:"store_backend"`
	// StorePasswordFile holds the password of deployment.etcd.user; it is read
	// at each login.
	StorePasswordFile string   `conf:"store_password_file"`
	StoreTLS          StoreTLS `conf:"store_tls"`
	StoreQuota        Size     `conf:"store_quota"`
	Cluster           Cluster  `conf:"cluster"`
	Engine            string   `conf:"engine"` // loops, parked or plain
	Log               struct {
		Format string `conf:"format"` // text or json
		Level  string `conf:"level"`  // debug, info, warn or error; "" follows error_log_level
	} `conf:"log"`
	PluginTimeline         PluginTimeline `conf:"plugin_timeline"`
	Pprof                  bool           `conf:"pprof"`
	AllowPublishedAdminKey bool           `conf:"allow_published_admin_key"`
	Limits                 Limits         `conf:"limits"`
}

// PluginTimeline says who may see how long the plugins of a request took.
type PluginTimeline struct {
	Log       bool           `conf:"log"`     // time every request
	Header    string         `conf:"header"`  // response field, "" for none
	Trigger   string         `conf:"trigger"` // request field that asks for it, "" for always
	Addresses []netip.Prefix `conf:"addresses"`
}

// StoreTLS are the files for TLS on an address of the built-in etcd; no Cert:
// no TLS. With CA, only clients with a certificate of it are let in.
type StoreTLS struct {
	Cert string `conf:"cert"`
	Key  string `conf:"key"`
	CA   string `conf:"ca"`
}

// Cluster makes the built-in etcd one member of a cluster; without Members it
// stands alone.
type Cluster struct {
	Name       string            `conf:"name"` // of this node, among the members
	PeerListen string            `conf:"peer_listen"`
	Members    map[string]string `conf:"members"` // name → peer URL, this node's included
	// Joining: the cluster exists and this node was added to it (sluice store
	// add-member). Only looked at while the node has no data.
	Joining bool     `conf:"joining"`
	PeerTLS StoreTLS `conf:"peer_tls"`
}

// Limits bound what one client may take.
type Limits struct {
	HeaderBytes  Size          `conf:"header_bytes"`  // request line and header
	HeaderFields int           `conf:"header_fields"` // number of fields
	BodyMemory   Size          `conf:"body_memory"`   // a buffered body beyond this goes to a file
	BodyFile     Size          `conf:"body_file"`     // and beyond this is refused with 413
	TunnelIdle   time.Duration `conf:"tunnel_idle"`
}

// PrometheusAttr is plugin_attr.prometheus, as far as the process needs it.
type PrometheusAttr struct {
	ExportURI          string        `conf:"export_uri"`
	MetricPrefix       string        `conf:"metric_prefix"`
	EnableExportServer bool          `conf:"enable_export_server"`
	ExportAddr         Address       `conf:"export_addr"`
	RefreshInterval    time.Duration `conf:"refresh_interval"`
}
