// Package resource holds every kind of configuration object: its Go type, its
// JSON Schema and its references to other kinds. The types are what is stored
// in etcd, decoded; an object is never changed after it was decoded.
//
// It does not know where objects come from (configcenter), who serves them
// (admin) or what they become (gateway).
package resource

import "encoding/json"

// Kind is the plural name of a kind: path segment of the Admin API and, with
// the prefix before it, of the store's key ("routes" → /apisix/routes/1).
type Kind string

// The kinds, in the order in which the Admin API documents them. Credentials
// live below consumers (/consumers/{name}/credentials/{id}); their ID is
// "{name}/credentials/{id}". GraphQLCostDecorations likewise below services.
// A secret's ID is "{manager}/{id}".
const (
	Routes                 Kind = "routes"
	Services               Kind = "services"
	Upstreams              Kind = "upstreams"
	Consumers              Kind = "consumers"
	Credentials            Kind = "credentials"
	ConsumerGroups         Kind = "consumer_groups"
	SSLs                   Kind = "ssls"
	GlobalRules            Kind = "global_rules"
	PluginConfigs          Kind = "plugin_configs"
	PluginMetadata         Kind = "plugin_metadata"
	Protos                 Kind = "protos"
	StreamRoutes           Kind = "stream_routes"
	Secrets                Kind = "secrets"
	GraphQLCostDecorations Kind = "graphql_cost_decorations"
	PluginList             Kind = "plugins" // the single key holding the enabled plugins
)

// Ref names one object.
type Ref struct {
	Kind Kind
	ID   string
}

// Plugins maps a plugin's name to its configuration as stored.
type Plugins map[string]json.RawMessage
