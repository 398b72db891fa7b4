package conf

const (
	snippet = "nginx's configuration language does not exist here"
	nginx   = "it tunes nginx, and Sluice has no such part"
	notRead = "APISIX does not read this old key any more either"
)

// ignored are the keys of APISIX's config.yaml that mean nothing here, and why.
// Their use is reported once, at start.
var ignored = map[string]string{
	"apisix.enable_dev_mode":                         "there is one process in any case",
	"apisix.enable_reuseport":                        "one process accepts all connections",
	"apisix.lua_module_hook":                         "there is no Lua process to hook into",
	"apisix.disable_sync_configuration_during_start": "nothing is served before the first configuration was read",
	"apisix.worker_startup_time_threshold":           "there are no worker processes",
	"apisix.control.router":                          "the control API has one router",
	"apisix.admin_key":                               notRead,
	"apisix.allow_admin":                             notRead,
	"apisix.port_admin":                              notRead,
	"apisix.config_center":                           notRead,
	"apisix.ssl.listen_port":                         notRead,
	"apisix.stream_proxy.only":                       notRead,
	"etcd":                                           notRead,

	"nginx_config.user":                                       "start Sluice as the user it is to run as",
	"nginx_config.enable_cpu_affinity":                        nginx,
	"nginx_config.worker_rlimit_nofile":                       nginx,
	"nginx_config.worker_rlimit_core":                         nginx,
	"nginx_config.event":                                      nginx,
	"nginx_config.max_pending_timers":                         nginx,
	"nginx_config.max_running_timers":                         nginx,
	"nginx_config.meta":                                       nginx,
	"nginx_config.stream.lua_shared_dict":                     nginx,
	"nginx_config.stream.metrics_zone_size":                   nginx,
	"nginx_config.http.variables_hash_max_size":               nginx,
	"nginx_config.main_configuration_snippet":                 snippet,
	"nginx_config.http_configuration_snippet":                 snippet,
	"nginx_config.http_server_configuration_snippet":          snippet,
	"nginx_config.http_server_location_configuration_snippet": snippet,
	"nginx_config.http_admin_configuration_snippet":           snippet,
	"nginx_config.http_end_configuration_snippet":             snippet,
	"nginx_config.stream_configuration_snippet":               snippet,
}
