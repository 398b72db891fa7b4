package configcenter

import (
	"strings"

	"sluice/configcenter/resource"
)

// Places of the two kinds that live below another.
const (
	belowConsumer = "/credentials/"
	belowService  = "/graphql_cost_decorations/"
)

// Path is an object's key without the store's prefix: "/routes/1",
// "/consumers/bob/credentials/1", and "/plugins" for the list of plugins.
func Path(k resource.Kind, id string) string {
	switch k {
	case resource.Credentials:
		k = resource.Consumers
	case resource.GraphQLCostDecorations:
		k = resource.Services
	case resource.PluginList:
		return "/" + string(k)
	}
	return "/" + string(k) + "/" + id
}

// Dir is the path below which the objects of a kind lie, with those that live
// below them: "/routes/". The list of plugins is a single key: "/plugins".
func Dir(k resource.Kind) string { return Path(k, "") }

// ParsePath is the inverse of Path. It is false for a key that is no object's:
// another tree's, or a directory's own.
func ParsePath(path string) (k resource.Kind, id string, ok bool) {
	dir, id, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	k = resource.Kind(dir)
	switch {
	case path == "/plugins":
		return resource.PluginList, "", true
	case path == "" || path[0] != '/' || id == "" || resource.Of(k) == nil:
		return "", "", false
	case k == resource.Credentials || k == resource.GraphQLCostDecorations || k == resource.PluginList:
		return "", "", false // not a directory of its own
	case k == resource.Consumers && below(id, belowConsumer):
		k = resource.Credentials
	case k == resource.Services && below(id, belowService):
		k = resource.GraphQLCostDecorations
	case k == resource.Secrets:
		ok = strings.Count(id, "/") == 1 && !strings.HasPrefix(id, "/") && !strings.HasSuffix(id, "/")
		return k, id, ok
	}
	return k, id, true
}

// below reports whether id is "{owner}{place}{id}".
func below(id, place string) bool {
	owner, sub, ok := strings.Cut(id, place)
	return ok && owner != "" && sub != ""
}
