package admin

import (
	"html/template"
	"net/http"
	"slices"
	"strings"

	"sluice/configcenter/resource"
)

// healthKinds are the kinds whose objects can have health checks.
var healthKinds = []resource.Kind{resource.Routes, resource.StreamRoutes, resource.Services, resource.Upstreams}

// health is one checked object.
type health struct {
	Name  string       `json:"name"`
	Type  string       `json:"type,omitempty"`
	Nodes []NodeHealth `json:"nodes"`
}

func (c *Control) healthAll(w http.ResponseWriter, r *http.Request) answer {
	found := []health{}
	for _, k := range healthKinds {
		for _, it := range c.Live.Items(k) {
			if h, ok := c.healthOf(k, it); ok {
				found = append(found, h)
			}
		}
	}
	if wantsHTML(r) {
		return healthPage(w, found)
	}
	return answer{http.StatusOK, orObject(found)}
}

func (c *Control) healthOne(w http.ResponseWriter, r *http.Request) answer {
	kind, id := r.PathValue("kind"), r.PathValue("id")
	if id == "" {
		return fail(http.StatusNotFound, "missing src id for src type %s", kind)
	}
	if !slices.Contains(healthKinds, resource.Kind(kind)) {
		return fail(http.StatusBadRequest, "invalid src type %s", kind)
	}
	for _, it := range c.Live.Items(resource.Kind(kind)) {
		if it.ID != id {
			continue
		}
		h, ok := c.healthOf(resource.Kind(kind), it)
		if !ok {
			return fail(http.StatusNotFound, "no checker for %s[%s]", kind, id)
		}
		if wantsHTML(r) {
			return healthPage(w, []health{h})
		}
		return answer{http.StatusOK, h}
	}
	return fail(http.StatusNotFound, "%s[%s] not found", kind, id)
}

// healthOf reads the checks of an object; false when it has none.
func (c *Control) healthOf(k resource.Kind, it LiveItem) (health, bool) {
	value := filled(k, it)
	checks, ok := value["checks"].(object)
	if !ok {
		up, _ := value["upstream"].(object)
		checks, ok = up["checks"].(object)
	}
	if !ok {
		return health{}, false
	}
	h := health{Name: it.Key, Nodes: c.Live.Health(k, it.ID)}
	if h.Nodes == nil {
		h.Nodes = []NodeHealth{}
	}
	for _, part := range []string{"passive", "active"} { // the active one has the last word
		check, _ := checks[part].(object)
		if t, _ := check["type"].(string); t != "" {
			h.Type = t
		}
	}
	return h, true
}

func wantsHTML(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

var healthTemplate = template.Must(template.New("health").Parse(`<html xmlns="http://www.w3.org/1999/xhtml">
<head>
  <title>APISIX upstream check status</title>
</head>
<body>
<h1>APISIX upstream check status</h1>
<table style="background-color:white" cellspacing="0" cellpadding="3" border="1">
  <tr bgcolor="#C0C0C0">
    <th>Index</th>
    <th>Upstream</th>
    <th>Check type</th>
    <th>Host</th>
    <th>Status</th>
    <th>Success counts</th>
    <th>TCP Failures</th>
    <th>HTTP Failures</th>
    <th>TIMEOUT Failures</th>
  </tr>
{{range .}}
  {{if .Up}}<tr>{{else}}<tr bgcolor="#FF0000">{{end}}
    <td>{{.Index}}</td>
    <td>{{.Name}}</td>
    <td>{{.Type}}</td>
    <td>{{.IP}}:{{.Port}}</td>
    <td>{{.Status}}</td>
    <td>{{.Counter.Success}}</td>
    <td>{{.Counter.TCP}}</td>
    <td>{{.Counter.HTTP}}</td>
    <td>{{.Counter.Timeout}}</td>
  </tr>
{{end}}
</table>
</body>
</html>
`))

func healthPage(w http.ResponseWriter, all []health) answer {
	type row struct {
		Index      int
		Name, Type string
		Up         bool
		NodeHealth
	}
	var rows []row
	for _, h := range all {
		for _, n := range h.Nodes {
			up := n.Status == "healthy" || n.Status == "mostly_healthy"
			rows = append(rows, row{len(rows) + 1, h.Name, h.Type, up, n})
		}
	}
	var b strings.Builder
	if err := healthTemplate.Execute(&b, rows); err != nil {
		return fail(http.StatusServiceUnavailable, "HTML template rendering: %s", err)
	}
	w.Header().Set("Content-Type", "text/html")
	return answer{http.StatusOK, b.String()}
}
