package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"time"

	"sluice/configcenter/resource"
)

// Live is what the control API shows of the running gateway. cmd hands over
// something that has these methods.
type Live interface {
	// Rev is the revision of the version that serves.
	Rev() int64
	// Digest is the revision of the version that serves and the digest of its
	// objects: equal on gateways that serve the same.
	Digest() (rev int64, digest string)
	// WaitRev returns when a version of at least rev serves, or ctx ends.
	WaitRev(ctx context.Context, rev int64) error
	// Items are the objects of a kind in the version that serves, by id.
	Items(k resource.Kind) []LiveItem
	// Health is what the health checks of an object's upstream found so far.
	Health(k resource.Kind, id string) []NodeHealth
	// Discovery is what the discovery called name wants to show under path
	// ("dump"); false when there is no such thing.
	Discovery(name, path string) (any, bool)
	// PluginAPI answers the control APIs of plugins; false when none does.
	PluginAPI(w http.ResponseWriter, r *http.Request) bool
}

// LiveItem is one object in use.
type LiveItem struct {
	Key      string // with the prefix: "/apisix/routes/1"
	ID       string
	Value    json.RawMessage // as stored
	Created  int64           // revisions
	Modified int64
}

// NodeHealth is one node as its health checks see it.
type NodeHealth struct {
	IP       string `json:"ip"`
	Port     int    `json:"port"`
	Hostname string `json:"hostname,omitempty"`
	Status   string `json:"status"` // healthy, mostly_healthy, mostly_unhealthy, unhealthy
	Counter  struct {
		Success int `json:"success"`
		HTTP    int `json:"http_failure"`
		TCP     int `json:"tcp_failure"`
		Timeout int `json:"timeout_failure"`
	} `json:"counter"`
}

// ControlOptions are the parts of the control API.
type ControlOptions struct {
	Live    Live
	Plugins func() (http, stream Plugins)
	Reload  func(context.Context) error
	// Debug adds /debug/pprof and /debug/metrics.
	Debug bool
	Log   *slog.Logger
}

// Control is the control API. It has no authentication: it belongs on a
// loopback address.
type Control struct {
	ControlOptions
	mux     *http.ServeMux
	schemas map[string]json.RawMessage
}

// controlSchemas are the schemas shown under "main".
var controlSchemas = []string{"consumer", "consumer_group", "global_rule", "graphql_cost_decoration", "plugin_config",
	"plugins", "proto", "route", "service", "ssl", "stream_route", "upstream",
	"upstream_hash_header_schema", "upstream_hash_vars_schema"}

// NewControl makes the control API.
func NewControl(o ControlOptions) *Control {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Control{ControlOptions: o, mux: http.NewServeMux(), schemas: map[string]json.RawMessage{}}
	for _, info := range resource.Kinds {
		if slices.Contains(controlSchemas, info.Singular) {
			c.schemas[info.Singular] = json.RawMessage(info.Schema)
		}
	}
	for name, text := range furtherSchemas {
		if slices.Contains(controlSchemas, name) {
			c.schemas[name] = json.RawMessage(text)
		}
	}
	c.routes()
	return c
}

// controlFunc answers one request of the control API.
type controlFunc func(w http.ResponseWriter, r *http.Request) answer

func (c *Control) routes() {
	for pattern, f := range map[string]controlFunc{
		"GET /v1/schema":                  c.schema,
		"GET /v1/healthcheck":             c.healthAll,
		"GET /v1/healthcheck/{kind}":      c.healthOne,
		"GET /v1/healthcheck/{kind}/{id}": c.healthOne,
		"POST /v1/gc":                     func(http.ResponseWriter, *http.Request) answer { runtime.GC(); return answer{code: 200} },
		"GET /v1/plugin_metadatas":        c.metadatas,
		"GET /v1/plugin_metadata/{name}":  c.metadata,
		"PUT /v1/plugins/reload":          c.reload,
		"GET /v1/discovery/{name}/{path}": c.discovery,
		"GET /v1/sluice/version":          c.version,
		"GET /v1/routes":                  c.items(resource.Routes),
		"GET /v1/route/{id}":              c.oneItem(resource.Routes),
		"GET /v1/services":                c.items(resource.Services),
		"GET /v1/service/{id}":            c.oneItem(resource.Services),
		"GET /v1/upstreams":               c.items(resource.Upstreams),
		"GET /v1/upstream/{id}":           c.oneItem(resource.Upstreams),
	} {
		c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a := f(w, r)
			if _, text := a.body.(string); !text && a.body != nil {
				w.Header().Set("Content-Type", "application/json")
			} else if w.Header().Get("Content-Type") == "" {
				w.Header().Set("Content-Type", "text/plain")
			}
			a.write(w, r)
		})
	}
	if c.Debug {
		c.mux.HandleFunc("/debug/pprof/", pprof.Index)
		c.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		c.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		c.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		c.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		c.mux.HandleFunc("GET /debug/metrics", runtimeMetrics)
	}
}

// ServeHTTP answers one request.
func (c *Control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", serverName(false))
	r.URL.Path = cleanPath(r.URL.Path)
	// A known path with another method is an unknown path, as in APISIX.
	if _, pattern := c.mux.Handler(r); pattern != "" {
		c.mux.ServeHTTP(w, r)
	} else if !c.Live.PluginAPI(w, r) {
		writePage(w, http.StatusNotFound)
	}
}

func (c *Control) schema(http.ResponseWriter, *http.Request) answer {
	enabled, stream := c.Plugins()
	return answer{http.StatusOK, object{"main": c.schemas,
		"plugins": describe(enabled), "stream_plugins": describe(stream)}}
}

func (c *Control) items(k resource.Kind) controlFunc {
	return func(http.ResponseWriter, *http.Request) answer {
		items := []shown{}
		for _, it := range c.Live.Items(k) {
			items = append(items, c.show(k, it))
		}
		return answer{http.StatusOK, orObject(items)}
	}
}

// orObject writes an empty list as {}, as APISIX does here.
func orObject[T any](list []T) any {
	if len(list) == 0 {
		return object{}
	}
	return list
}

func (c *Control) oneItem(k resource.Kind) controlFunc {
	return func(_ http.ResponseWriter, r *http.Request) answer {
		id := r.PathValue("id")
		for _, it := range c.Live.Items(k) {
			if it.ID == id {
				return answer{http.StatusOK, c.show(k, it)}
			}
		}
		return fail(http.StatusNotFound, "%s[%s] not found", resource.Of(k).Singular, id)
	}
}

func (c *Control) metadatas(http.ResponseWriter, *http.Request) answer {
	enabled, _ := c.Plugins()
	stored := map[string]json.RawMessage{}
	for _, it := range c.Live.Items(resource.PluginMetadata) {
		stored[it.ID] = it.Value
	}
	values := []json.RawMessage{}
	for _, name := range enabled.Names() {
		if v, ok := stored[name]; ok {
			values = append(values, v)
		}
	}
	return answer{http.StatusOK, orObject(values)}
}

func (c *Control) metadata(_ http.ResponseWriter, r *http.Request) answer {
	name := r.PathValue("name")
	for _, it := range c.Live.Items(resource.PluginMetadata) {
		if it.ID == name {
			return answer{http.StatusOK, it.Value}
		}
	}
	return fail(http.StatusNotFound, "plugin metadata[%s] not found", name)
}

func (c *Control) reload(_ http.ResponseWriter, r *http.Request) answer {
	if c.Reload != nil {
		if err := c.Reload(r.Context()); err != nil {
			c.Log.Error("failed to reload plugins", "err", err)
			return answer{http.StatusServiceUnavailable, err.Error()}
		}
	}
	return answer{http.StatusOK, "done"}
}

func (c *Control) discovery(w http.ResponseWriter, r *http.Request) answer {
	v, ok := c.Live.Discovery(r.PathValue("name"), r.PathValue("path"))
	if !ok {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		return answer{http.StatusNotFound, pageText(http.StatusNotFound)}
	}
	return answer{http.StatusOK, v}
}

// maxWait bounds a long poll.
const maxWait = 60 * time.Second

// version answers {"rev":N} of the version that serves. With ?wait=N it waits
// until N is reached, at most ?timeout seconds (10); 504 when it was not. With
// ?digest it answers {"rev":N,"digest":"…"} of one version.
func (c *Control) version(_ http.ResponseWriter, r *http.Request) answer {
	args := r.URL.Query()
	if args.Has("digest") && !args.Has("wait") {
		rev, digest := c.Live.Digest()
		return answer{http.StatusOK, object{"rev": rev, "digest": digest}}
	}
	if !args.Has("wait") {
		return answer{http.StatusOK, object{"rev": c.Live.Rev()}}
	}
	rev, err := strconv.ParseInt(args.Get("wait"), 10, 64)
	if err != nil {
		return fail(http.StatusBadRequest, "invalid wait %q: should be a revision", args.Get("wait"))
	}
	limit := 10 * time.Second
	if text := args.Get("timeout"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0) {
			return fail(http.StatusBadRequest, "invalid timeout %q: should be a number of seconds", text)
		}
		limit = maxWait
		if seconds < maxWait.Seconds() {
			limit = time.Duration(seconds * float64(time.Second))
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	if err := c.Live.WaitRev(ctx, rev); err != nil {
		return answer{http.StatusGatewayTimeout, object{"rev": c.Live.Rev(), "error_msg": err.Error()}}
	}
	return answer{http.StatusOK, object{"rev": c.Live.Rev()}}
}

// runtimeMetrics writes what Go's runtime measures, one name a line.
func runtimeMetrics(w http.ResponseWriter, _ *http.Request) {
	all := metrics.All()
	samples := make([]metrics.Sample, len(all))
	for i := range all {
		samples[i].Name = all[i].Name
	}
	metrics.Read(samples)
	values := map[string]any{}
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			values[s.Name] = s.Value.Uint64()
		case metrics.KindFloat64:
			values[s.Name] = s.Value.Float64()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	text, err := encode(values)
	if err != nil {
		writePage(w, http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(append(text, '\n'))
}
