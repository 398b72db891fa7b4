package admin

import (
	"context"
	"net/http"
	"strings"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
	"sluice/plugins"
)

// kind is what the generic verbs need to know of one kind of object.
type kind struct {
	kind resource.Kind
	word string // in messages: "plugin config"
	off  string // methods answered 405
	// unnamed kinds take their id from elsewhere in the body (username) or the path.
	unnamed bool
	// filters says that the list can be filtered by service_id and upstream_id.
	filters bool
	// part is which schema of their plugins is meant; sealed says that the
	// encrypt_fields of those plugins are encrypted.
	part   plugins.Part
	sealed bool
	schema *schema.Schema
	// check holds a candidate against everything beyond the common checks. It
	// must not change the candidate.
	check func(*Handler, *candidate) *answer
	// used returns a message when something still refers to the object.
	used func(h *Handler, ctx context.Context, id string) (string, error)
}

// candidate is an object that wants to be stored.
type candidate struct {
	ctx     context.Context
	kind    *kind
	id      string // "" for POST
	value   object
	parent  string // consumer of a credential, service of a cost decoration
	manager string // of a secret
	// alone leaves out what depends on other objects (batch validation).
	alone bool
}

// table is every kind by its path segment. Made anew for each Handler, because
// the compiled schemas are filled in.
func table() map[string]*kind {
	m := map[string]*kind{}
	for _, k := range []*kind{
		{kind: resource.Routes, filters: true, sealed: true, check: (*Handler).checkRoute},
		{kind: resource.Services, sealed: true, check: (*Handler).checkService,
			used: (*Handler).serviceUsed},
		{kind: resource.Upstreams, check: (*Handler).checkUpstreamObject,
			used: (*Handler).upstreamUsed},
		{kind: resource.Consumers, off: "POST PATCH", unnamed: true, sealed: true,
			part: plugins.ConsumerPart, check: (*Handler).checkConsumer},
		{kind: resource.Credentials, off: "POST PATCH", sealed: true,
			part: plugins.ConsumerPart, check: (*Handler).checkCredential},
		{kind: resource.ConsumerGroups, off: "POST", sealed: true,
			check: (*Handler).checkPluginSet, used: (*Handler).groupUsed},
		{kind: resource.SSLs, check: (*Handler).checkSSL},
		{kind: resource.GlobalRules, off: "POST", sealed: true,
			check: (*Handler).checkGlobalRule},
		{kind: resource.PluginConfigs, off: "POST", sealed: true,
			check: (*Handler).checkPluginSet, used: (*Handler).pluginConfigUsed},
		{kind: resource.PluginMetadata, off: "POST PATCH", unnamed: true, sealed: true,
			part: plugins.MetadataPart, check: (*Handler).checkMetadata},
		{kind: resource.Protos, off: "PATCH", check: (*Handler).checkProto,
			used: (*Handler).protoUsed},
		{kind: resource.StreamRoutes, off: "PATCH", filters: true,
			check: (*Handler).checkStreamRoute, used: (*Handler).streamRouteUsed},
		{kind: resource.Secrets, off: "POST", check: (*Handler).checkSecret},
		{kind: resource.GraphQLCostDecorations,
			check: (*Handler).checkDecoration},
	} {
		m[string(k.kind)] = k
	}
	return m
}

// refuses says whether the kind answers 405 to method.
func (k *kind) refuses(method string) bool {
	for m := range strings.FieldsSeq(k.off) {
		if m == method {
			return true
		}
	}
	return false
}

// compile fills the table with the schemas.
func (h *Handler) compile() error {
	h.kinds = table()
	h.schemas = map[string]*schema.Schema{}
	h.secrets = map[string]*schema.Schema{}
	for _, info := range resource.Kinds {
		s, err := schema.Compile(info.Singular, info.Schema)
		if err != nil {
			return err
		}
		h.schemas[info.Singular] = s
		if k := h.kinds[string(info.Kind)]; k != nil {
			k.word, k.schema = info.Name, s
		}
		for name, text := range info.Variants {
			if h.secrets[name], err = schema.Compile(name, text); err != nil {
				return err
			}
		}
	}
	for name, text := range furtherSchemas {
		s, err := schema.Compile(name, text)
		if err != nil {
			return err
		}
		h.schemas[name] = s
	}
	var err error
	h.redis, err = schema.Compile("redis", redisProtocol)
	return err
}

// target is what a path names.
type target struct {
	kind    *kind
	name    string // path segment of the kind
	id      string // "" when the path has none
	sub     string // JSON path behind the id
	parent  string
	manager string
}

// locate reads the segments behind the root.
func locate(p string) target {
	segs := strings.Split(strings.TrimPrefix(p, root+"/"), "/")
	t := target{name: segs[0], id: at(segs, 1), sub: join(segs, 2)}
	if t.name == "schema" && t.id == "plugins" {
		t.name, t.id, t.sub = segs[1], at(segs, 2), join(segs, 3)
		return t
	}
	if third := at(segs, 2); t.name == "consumers" && third == "credentials" ||
		t.name == "services" && third == "graphql_cost_decorations" {
		t.parent, t.name, t.id, t.sub = segs[1], third, at(segs, 3), join(segs, 4)
	}
	if t.name == string(resource.Secrets) {
		t.manager, t.id, t.sub = t.id, at(segs, 2), join(segs, 3)
	}
	return t
}

func at(segs []string, i int) string {
	if i < len(segs) {
		return segs[i]
	}
	return ""
}

func join(segs []string, from int) string {
	if from >= len(segs) {
		return ""
	}
	return strings.Join(segs[from:], "/")
}

// storeID is the id under which the store knows the object called id.
func (t *target) storeID(id string) string {
	switch t.kind.kind {
	case resource.Credentials, resource.GraphQLCostDecorations:
		return t.parent + "/" + string(t.kind.kind) + "/" + id
	case resource.Secrets:
		return t.manager + "/" + id
	}
	return id
}

// key is the full key of a stored object.
func (h *Handler) key(k resource.Kind, storeID string) string {
	return h.Store.Prefix() + configcenter.Path(k, storeID)
}

// generic answers everything of the form {kind}/{id}/{sub path}.
func (h *Handler) generic(w http.ResponseWriter, r *http.Request, p string) answer {
	t := locate(p)
	if t.name == string(resource.StreamRoutes) && !h.StreamMode {
		h.Log.Warn("stream mode is disabled, can not add any stream routes")
		return fail(http.StatusBadRequest, "stream mode is disabled, can not add stream routes")
	}
	t.kind = h.kinds[t.name]
	read := t.name == "plugins" || t.name == "schema"
	switch {
	case t.kind == nil && !read:
		return fail(http.StatusNotFound, "Unsupported resource type: %s", t.name)
	case read && r.Method != http.MethodGet:
		return fail(http.StatusNotFound, "not found")
	}
	q := &query{ctx: r.Context(), target: t, args: r.URL.Query()}
	var bad *answer
	if q.body, q.hasBody, bad = decodeBody(r); bad != nil {
		return *bad
	}
	if ttl := q.args.Get("ttl"); q.args.Has("ttl") {
		n, ok := luaNumber(ttl)
		if !ok {
			return fail(http.StatusBadRequest, "invalid argument ttl: should be a number")
		}
		q.ttl = max(n, 1) // the least that a lease can be
	}
	a := h.dispatch(q, r.Method)
	w.Header().Set("X-Api-Version", map[bool]string{false: "v3", true: "v2"}[h.V2])
	return a
}

func (h *Handler) dispatch(q *query, method string) answer {
	switch q.name {
	case "plugins":
		return h.pluginGet(q)
	case "schema":
		return h.schemaGet(q.id)
	}
	if q.kind.refuses(method) {
		return fail(http.StatusMethodNotAllowed, "not supported `%s` method for %s", method, q.kind.word)
	}
	switch q.kind.kind {
	case resource.Credentials:
		if q.parent == "" {
			return fail(http.StatusNotFound, "not found")
		}
	case resource.GraphQLCostDecorations:
		if q.parent == "" {
			return fail(http.StatusBadRequest, "missing service id")
		}
	}
	switch method {
	case http.MethodGet:
		if q.id == "" {
			return h.list(q)
		}
		return h.get(q)
	case http.MethodPut:
		return h.put(q)
	case http.MethodPost:
		return h.post(q)
	case http.MethodPatch:
		return h.patch(q)
	}
	return h.delete(q)
}
