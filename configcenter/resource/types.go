package resource

import (
	"encoding/json"
	"fmt"
)

// Meta is what most kinds carry.
type Meta struct {
	ID         ID                `json:"id,omitempty"`
	Name       string            `json:"name,omitempty"`
	Desc       string            `json:"desc,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	CreateTime int64             `json:"create_time,omitempty"` // seconds since 1970
	UpdateTime int64             `json:"update_time,omitempty"`
}

// ID is an object's id. In JSON it may be a string or an integer.
type ID string

// UnmarshalJSON accepts "x" and 17.
func (id *ID) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '"':
		return json.Unmarshal(b, (*string)(id))
	case len(b) > 0 && b[0] >= '0' && b[0] <= '9':
		*id = ID(b)
		return nil
	}
	return fmt.Errorf("id %s: must be a string or an integer", b)
}

// Timeout is in seconds.
type Timeout struct {
	Connect float64 `json:"connect"`
	Send    float64 `json:"send"`
	Read    float64 `json:"read"`
}

// Route says which requests it takes and what happens to them.
type Route struct {
	Meta
	URI             string          `json:"uri,omitempty"`
	URIs            []string        `json:"uris,omitempty"`
	Priority        int             `json:"priority,omitempty"`
	Methods         []string        `json:"methods,omitempty"`
	Host            string          `json:"host,omitempty"`
	Hosts           []string        `json:"hosts,omitempty"`
	RemoteAddr      string          `json:"remote_addr,omitempty"`
	RemoteAddrs     []string        `json:"remote_addrs,omitempty"`
	Timeout         *Timeout        `json:"timeout,omitempty"`
	Vars            json.RawMessage `json:"vars,omitempty"`
	FilterFunc      string          `json:"filter_func,omitempty"`
	Script          string          `json:"script,omitempty"`
	ScriptID        ID              `json:"script_id,omitempty"`
	Plugins         Plugins         `json:"plugins,omitempty"`
	PluginConfigID  ID              `json:"plugin_config_id,omitempty"`
	Upstream        *Upstream       `json:"upstream,omitempty"`
	UpstreamID      ID              `json:"upstream_id,omitempty"`
	ServiceID       ID              `json:"service_id,omitempty"`
	EnableWebsocket *bool           `json:"enable_websocket,omitempty"`
	Status          *int            `json:"status,omitempty"` // 1 (default) or 0: left out
}

// Service is what several routes share.
type Service struct {
	Meta
	Plugins         Plugins   `json:"plugins,omitempty"`
	Upstream        *Upstream `json:"upstream,omitempty"`
	UpstreamID      ID        `json:"upstream_id,omitempty"`
	Script          string    `json:"script,omitempty"`
	EnableWebsocket *bool     `json:"enable_websocket,omitempty"`
	Hosts           []string  `json:"hosts,omitempty"`
}

// Upstream is a set of nodes and how to talk to them.
type Upstream struct {
	Meta
	Nodes         Nodes           `json:"nodes,omitempty"`
	Retries       *int            `json:"retries,omitempty"`       // nil: number of nodes − 1
	RetryTimeout  float64         `json:"retry_timeout,omitempty"` // seconds; 0: none
	Timeout       *Timeout        `json:"timeout,omitempty"`
	TLS           *UpstreamTLS    `json:"tls,omitempty"`
	KeepalivePool *KeepalivePool  `json:"keepalive_pool,omitempty"`
	Type          string          `json:"type,omitempty"` // roundrobin when empty
	Checks        *Checks         `json:"checks,omitempty"`
	HashOn        string          `json:"hash_on,omitempty"` // vars when empty
	Key           string          `json:"key,omitempty"`
	Scheme        string          `json:"scheme,omitempty"` // http when empty
	DiscoveryType string          `json:"discovery_type,omitempty"`
	DiscoveryArgs json.RawMessage `json:"discovery_args,omitempty"`
	PassHost      string          `json:"pass_host,omitempty"` // pass when empty
	UpstreamHost  string          `json:"upstream_host,omitempty"`
	ServiceName   string          `json:"service_name,omitempty"`
}

// Node is one server of an upstream. Port 0 means the scheme's own.
type Node struct {
	Host     string          `json:"host"`
	Port     int             `json:"port,omitempty"`
	Weight   int             `json:"weight"`
	Priority int             `json:"priority,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// UpstreamTLS is the client side of TLS toward nodes.
type UpstreamTLS struct {
	ClientCertID ID     `json:"client_cert_id,omitempty"`
	ClientCert   string `json:"client_cert,omitempty"`
	ClientKey    string `json:"client_key,omitempty"`
	Verify       bool   `json:"verify,omitempty"`
}

// KeepalivePool bounds the connections kept to one node.
type KeepalivePool struct {
	Size        int      `json:"size,omitempty"`         // 320 when 0
	IdleTimeout *float64 `json:"idle_timeout,omitempty"` // seconds, 60 when nil
	Requests    int      `json:"requests,omitempty"`     // 1000 when 0
}

// Checks are the health checks of an upstream; nil parts were not configured.
type Checks struct {
	Active  *ActiveCheck  `json:"active,omitempty"`
	Passive *PassiveCheck `json:"passive,omitempty"`
}

// ActiveCheck probes nodes.
type ActiveCheck struct {
	Type                   string     `json:"type,omitempty"`
	Timeout                float64    `json:"timeout,omitempty"`
	Concurrency            int        `json:"concurrency,omitempty"`
	Host                   string     `json:"host,omitempty"`
	Port                   int        `json:"port,omitempty"`
	HTTPMethod             string     `json:"http_method,omitempty"`
	HTTPPath               string     `json:"http_path,omitempty"`
	HTTPReqBody            string     `json:"http_req_body,omitempty"`
	HTTPSVerifyCertificate *bool      `json:"https_verify_certificate,omitempty"`
	ReqHeaders             []string   `json:"req_headers,omitempty"`
	Healthy                *Healthy   `json:"healthy,omitempty"`
	Unhealthy              *Unhealthy `json:"unhealthy,omitempty"`
}

// PassiveCheck judges nodes by the answers that real requests get.
type PassiveCheck struct {
	Type      string     `json:"type,omitempty"`
	Healthy   *Healthy   `json:"healthy,omitempty"`
	Unhealthy *Unhealthy `json:"unhealthy,omitempty"`
}

// Healthy says when a node counts as up. Nil pointers take the schema's defaults.
type Healthy struct {
	Interval     int   `json:"interval,omitempty"`
	HTTPStatuses []int `json:"http_statuses,omitempty"`
	Successes    *int  `json:"successes,omitempty"`
}

// Unhealthy says when a node counts as down.
type Unhealthy struct {
	Interval     int   `json:"interval,omitempty"`
	HTTPStatuses []int `json:"http_statuses,omitempty"`
	HTTPFailures *int  `json:"http_failures,omitempty"`
	TCPFailures  *int  `json:"tcp_failures,omitempty"`
	Timeouts     *int  `json:"timeouts,omitempty"`
}

// Consumer is somebody who calls.
type Consumer struct {
	Meta
	Username string  `json:"username"`
	GroupID  ID      `json:"group_id,omitempty"`
	Plugins  Plugins `json:"plugins,omitempty"`
}

// Credential is one further way for a consumer to authenticate.
type Credential struct {
	Meta
	Plugins Plugins `json:"plugins,omitempty"`
}

// PluginSet is a consumer group, a plugin config or a global rule: plugins under an id.
type PluginSet struct {
	Meta
	Plugins Plugins `json:"plugins"`
}

// SSL is a certificate with the names it serves, or a client certificate.
type SSL struct {
	Meta
	Type         string     `json:"type,omitempty"` // server (default) or client
	Cert         string     `json:"cert,omitempty"`
	Key          string     `json:"key,omitempty"`
	Certs        []string   `json:"certs,omitempty"`
	Keys         []string   `json:"keys,omitempty"`
	SNI          string     `json:"sni,omitempty"`
	SNIs         []string   `json:"snis,omitempty"`
	Client       *SSLClient `json:"client,omitempty"`
	Status       *int       `json:"status,omitempty"`
	SSLProtocols []string   `json:"ssl_protocols,omitempty"`
}

// SSLClient asks clients for a certificate.
type SSLClient struct {
	CA               string   `json:"ca"`
	Depth            *int     `json:"depth,omitempty"`
	SkipMTLSURIRegex []string `json:"skip_mtls_uri_regex,omitempty"`
}

// Proto is a .proto file (or base64 of a FileDescriptorSet) for grpc-transcode.
type Proto struct {
	Meta
	Content string `json:"content"`
}

// StreamRoute says which TCP, TLS or UDP sessions it takes.
type StreamRoute struct {
	Meta
	RemoteAddr string          `json:"remote_addr,omitempty"`
	ServerAddr string          `json:"server_addr,omitempty"`
	ServerPort int             `json:"server_port,omitempty"`
	SNI        string          `json:"sni,omitempty"`
	Upstream   *Upstream       `json:"upstream,omitempty"`
	UpstreamID ID              `json:"upstream_id,omitempty"`
	ServiceID  ID              `json:"service_id,omitempty"`
	Plugins    Plugins         `json:"plugins,omitempty"`
	Protocol   *StreamProtocol `json:"protocol,omitempty"`
}

// StreamProtocol is the xRPC part of a stream route.
type StreamProtocol struct {
	Name       string          `json:"name"`
	SuperiorID ID              `json:"superior_id,omitempty"`
	Conf       json.RawMessage `json:"conf,omitempty"`
	Logger     json.RawMessage `json:"logger,omitempty"`
}

// Raw is a kind whose members depend on something else (plugin_metadata on its
// plugin, secrets on their manager): kept as text.
type Raw struct {
	Meta
	JSON json.RawMessage `json:"-"`
}

// GraphQLCostDecoration weighs one field of a GraphQL schema.
type GraphQLCostDecoration struct {
	Meta
	FieldPath    string   `json:"field_path"`
	AddValue     *float64 `json:"add_value,omitempty"`
	AddArguments []string `json:"add_arguments,omitempty"`
	MulValue     *float64 `json:"mul_value,omitempty"`
	MulArguments []string `json:"mul_arguments,omitempty"`
	ServiceID    ID       `json:"service_id,omitempty"`
}

// EnabledPlugins is the /plugins key.
type EnabledPlugins []EnabledPlugin

// EnabledPlugin is one entry of the /plugins key.
type EnabledPlugin struct {
	Name   string `json:"name"`
	Stream bool   `json:"stream,omitempty"`
}
