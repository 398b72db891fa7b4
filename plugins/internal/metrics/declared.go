package metrics

// declaration is one metric as it is without configuration.
type declaration struct {
	name, help string
	kind       kind
	labels     []string
	buckets    func(*Attr) []float64
	external   bool // its values come from Sources
}

var (
	latencyBuckets = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000}
	tokenBuckets   = []float64{1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10000,
		20000, 50000, 100000, 200000, 500000, 1000000}
)

// or is the configured buckets, or the usual ones.
func or(get func(*Attr) []float64, usual []float64) func(*Attr) []float64 {
	return func(a *Attr) []float64 {
		if b := get(a); len(b) > 0 {
			return b
		}
		return usual
	}
}

// Every metric of a request ends with who asked for which model of whom.
var (
	byConsumer = []string{"consumer", "node", "request_type", "request_llm_model", "llm_model"}
	byRoute    = append([]string{"route", "service"}, byConsumer...)
	byType     = append([]string{"type"}, byRoute...)
	byRouteID  = append([]string{"route_id", "service_id"}, byConsumer...)
	byBoth     = append([]string{"route", "route_id", "service", "service_id"}, byConsumer...)
)

var declared = []declaration{
	{name: "http_status", help: "HTTP status codes per service in APISIX",
		labels: append([]string{"code", "route", "matched_uri", "matched_host", "service"},
			append(append([]string{}, byConsumer...), "response_source")...)},
	{name: "http_latency", help: "HTTP request latency in milliseconds per service in APISIX", kind: histogram,
		labels: byType, buckets: or(func(a *Attr) []float64 { return a.DefaultBuckets }, latencyBuckets)},
	{name: "bandwidth", help: "Total bandwidth in bytes consumed per service in APISIX", labels: byType},

	{name: "nginx_http_current_connections", help: "Number of HTTP connections", kind: gauge,
		labels: []string{"state"}, external: true},
	{name: "http_requests_total", help: "The total number of client requests since APISIX started", kind: gauge,
		external: true},
	{name: "etcd_reachable", help: "Config server etcd reachable from APISIX, 0 is unreachable", kind: gauge,
		external: true},
	{name: "etcd_modify_indexes", help: "Etcd modify index for APISIX keys", kind: gauge,
		labels: []string{"key"}, external: true},
	{name: "config_changes_applied_total", help: "Changes of objects brought into force since the start", kind: gauge,
		external: true},
	{name: "config_drift_healed_total", help: "How often the configuration was not what etcd held, and was read again",
		kind: gauge, external: true},
	{name: "node_info", help: "Info of APISIX node", kind: gauge,
		labels: []string{"hostname", "version"}, external: true},
	{name: "shared_dict_capacity_bytes", help: "The capacity of each nginx shared DICT since APISIX start",
		kind: gauge, labels: []string{"name"}, external: true},
	{name: "shared_dict_free_space_bytes", help: "The free space of each nginx shared DICT since APISIX start",
		kind: gauge, labels: []string{"name"}, external: true},
	{name: "upstream_status", help: "Upstream status from health check", kind: gauge,
		labels: []string{"name", "ip", "port"}, external: true},
	{name: "batch_process_entries", help: "batch process remaining entries", kind: gauge,
		labels: []string{"name", "route_id", "server_addr"}, external: true},
	{name: "router_drift_total", help: "Differences between the incremental router and a full rebuild", kind: gauge,
		external: true},
	{name: "config_problems", help: "Objects of the configuration that cannot be used", kind: gauge,
		external: true},
	{name: "nginx_metric_errors_total", help: "Number of nginx-lua-prometheus errors"},

	{name: "llm_latency", help: "LLM request latency in milliseconds", kind: histogram,
		labels:  append([]string{"type"}, byRouteID...),
		buckets: or(func(a *Attr) []float64 { return a.LLMLatencyBuckets }, latencyBuckets)},
	{name: "llm_prompt_tokens", help: "LLM service consumed prompt tokens", labels: byRouteID},
	{name: "llm_completion_tokens", help: "LLM service consumed completion tokens", labels: byRouteID},
	{name: "llm_active_connections", help: "Number of active connections to LLM service", kind: gauge,
		labels: append([]string{"route", "route_id", "matched_uri", "matched_host", "service", "service_id"},
			byConsumer...)},
	{name: "llm_prompt_tokens_dist", help: "LLM prompt tokens distribution per request", kind: histogram,
		labels:  byRouteID,
		buckets: or(func(a *Attr) []float64 { return a.LLMPromptTokensBuckets }, tokenBuckets)},
	{name: "llm_completion_tokens_dist", help: "LLM completion tokens distribution per request", kind: histogram,
		labels:  byRouteID,
		buckets: or(func(a *Attr) []float64 { return a.LLMCompletionTokensBuckets }, tokenBuckets)},

	{name: "ai_cache_hits_total", help: "Total AI cache hits served, per cache layer",
		labels: append([]string{"layer"}, byBoth...)},
	{name: "ai_cache_misses_total", help: "Total AI cache misses", labels: byBoth},
	{name: "ai_cache_bypasses_total", help: "Total AI cache bypassed requests", labels: byBoth},
	{name: "ai_cache_embedding_latency", help: "Latency of AI cache embedding calls in milliseconds",
		kind: histogram, labels: byBoth,
		buckets: or(func(a *Attr) []float64 { return a.EmbeddingLatencyBuckets }, latencyBuckets)},

	{name: "stream_connection_total", help: "Total number of connections handled per stream route in APISIX",
		labels: []string{"route"}},
	{name: "stream_active_connections",
		help: "Number of stream sessions currently being proxied per listening address", kind: gauge,
		labels: []string{"listen_addr"}, external: true},
	{name: "stream_status", help: "Stream sessions per termination status in APISIX",
		labels: []string{"code", "listen_addr", "node"}},
	{name: "stream_bandwidth", help: "Total bandwidth in bytes proxied by the stream subsystem in APISIX",
		labels: []string{"listen_addr", "type", "side"}, external: true},
}
