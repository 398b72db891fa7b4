package resource

import (
	"embed"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
)

// Info describes one kind.
type Info struct {
	Kind     Kind
	Name     string // for people, in messages: "plugin config"
	Singular string // name of the schema: "plugin_config"
	Schema   string // JSON Schema, with the defaults
	// Variants are the schemas of a kind whose members depend on the first
	// part of the id: a secret's on its manager. Nil for all other kinds.
	Variants map[string]string

	New  func() any      // *Route, *Service, …
	Refs func(any) []Ref // what an object as made by New refers to by id
}

//go:embed *.json
var schemas embed.FS

// Kinds are all kinds, in the order of the constants.
var Kinds = []*Info{
	{Kind: Routes, Name: "route", Singular: "route", New: as[Route], Refs: refs((*Route).refs)},
	{Kind: Services, Name: "service", Singular: "service", New: as[Service], Refs: refs((*Service).refs)},
	{Kind: Upstreams, Name: "upstream", Singular: "upstream", New: as[Upstream], Refs: refs((*Upstream).refs)},
	{Kind: Consumers, Name: "consumer", Singular: "consumer", New: as[Consumer], Refs: refs((*Consumer).refs)},
	{Kind: Credentials, Name: "credential", Singular: "credential", New: as[Credential], Refs: refs((*Credential).refs)},
	{Kind: ConsumerGroups, Name: "consumer group", Singular: "consumer_group", New: as[PluginSet], Refs: none},
	{Kind: SSLs, Name: "ssl", Singular: "ssl", New: as[SSL], Refs: none},
	{Kind: GlobalRules, Name: "global rule", Singular: "global_rule", New: as[PluginSet], Refs: none},
	{Kind: PluginConfigs, Name: "plugin config", Singular: "plugin_config", New: as[PluginSet], Refs: none},
	{Kind: PluginMetadata, Name: "plugin_metadata", Singular: "plugin_metadata", New: as[Raw], Refs: none},
	{Kind: Protos, Name: "proto", Singular: "proto", New: as[Proto], Refs: none},
	{Kind: StreamRoutes, Name: "stream route", Singular: "stream_route", New: as[StreamRoute], Refs: refs((*StreamRoute).refs)},
	{Kind: Secrets, Name: "secret", Singular: "secret", New: as[Raw], Refs: none, Variants: map[string]string{
		"vault": text("secret_vault"), "aws": text("secret_aws"), "gcp": text("secret_gcp"),
	}},
	{Kind: GraphQLCostDecorations, Name: "graphql cost decoration", Singular: "graphql_cost_decoration",
		New: as[GraphQLCostDecoration], Refs: refs((*GraphQLCostDecoration).refs)},
	{Kind: PluginList, Name: "plugins", Singular: "plugins", New: as[EnabledPlugins], Refs: none},
}

var byKind = index()

func index() map[Kind]*Info {
	m := make(map[Kind]*Info, len(Kinds))
	for _, i := range Kinds {
		i.Schema = text(i.Singular)
		m[i.Kind] = i
	}
	return m
}

// text reads an embedded schema; a missing one is a bug found at start.
func text(name string) string {
	b, err := schemas.ReadFile(name + ".json")
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Of returns the description of a kind; nil if there is no such kind.
func Of(k Kind) *Info { return byKind[k] }

func as[T any]() any { return new(T) }

func none(any) []Ref { return nil }

// refs turns a typed list of references into one over any.
func refs[T any](f func(*T) []Ref) func(any) []Ref {
	return func(v any) []Ref {
		t, ok := v.(*T)
		if !ok {
			return nil
		}
		return f(t)
	}
}

// Decode reads an object as stored into the kind's type. Names of members are
// compared exactly, and a name may not come twice. The id of the object is
// that of its key, whatever its text says. A Raw keeps raw as it is, unread.
func Decode(k Kind, id string, raw []byte) (any, error) {
	info := Of(k)
	if info == nil {
		return nil, fmt.Errorf("unknown kind %q", k)
	}
	v := info.New()
	if r, ok := v.(*Raw); ok {
		r.JSON = raw
	} else if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("%s %q: %w", info.Name, id, err)
	}
	if m, ok := v.(interface{ setID(string) }); ok {
		m.setID(id)
	}
	return v, nil
}

func (m *Meta) setID(id string) { m.ID = ID(id) }

// list drops the references that are empty.
func list(all ...Ref) []Ref {
	var out []Ref
	for _, r := range all {
		if r.ID != "" {
			out = append(out, r)
		}
	}
	return out
}

func (u *Upstream) refs() []Ref {
	if u == nil || u.TLS == nil {
		return nil
	}
	return list(Ref{SSLs, string(u.TLS.ClientCertID)})
}

func (r *Route) refs() []Ref {
	return append(list(
		Ref{Upstreams, string(r.UpstreamID)},
		Ref{Services, string(r.ServiceID)},
		Ref{PluginConfigs, string(r.PluginConfigID)},
	), r.Upstream.refs()...)
}

func (s *Service) refs() []Ref {
	return append(list(Ref{Upstreams, string(s.UpstreamID)}), s.Upstream.refs()...)
}

func (c *Consumer) refs() []Ref { return list(Ref{ConsumerGroups, string(c.GroupID)}) }

func (c *Credential) refs() []Ref { return c.parent(Consumers, "/credentials/") }

func (g *GraphQLCostDecoration) refs() []Ref { return g.parent(Services, "/graphql_cost_decorations/") }

// parent is the object below which this one lives.
func (m *Meta) parent(k Kind, between string) []Ref {
	name, _, ok := strings.Cut(string(m.ID), between)
	if !ok {
		return nil
	}
	return []Ref{{k, name}}
}

func (s *StreamRoute) refs() []Ref {
	all := list(Ref{Upstreams, string(s.UpstreamID)}, Ref{Services, string(s.ServiceID)})
	if s.Protocol != nil {
		all = append(all, list(Ref{StreamRoutes, string(s.Protocol.SuperiorID)})...)
	}
	return append(all, s.Upstream.refs()...)
}
