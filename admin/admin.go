// Package admin is the Admin API, the control API and the status API: HTTP
// handlers over a table of kinds. What the Admin API accepts it writes to a
// configcenter.Store; the gateway hears of it from its Source. The control and
// status APIs show what cmd hands them through the interface Live.
//
// It does not know the running gateway, nor any single plugin, nor where the
// Store keeps its data.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
	"sluice/plugins"
)

// Version is the APISIX version whose Admin API this one is compatible with.
const Version = "3.18.0"

// root is the path below which the Admin API lives.
const root = "/apisix/admin"

// Key is one API key with its role.
type Key struct {
	Name string
	Key  string
	// Role is "admin", or "viewer", which may only read.
	Role string
}

// Plugins is what the Admin API needs to know of the enabled plugins of one
// subsystem. *plugins.Catalog is one.
type Plugins interface {
	// Names are the enabled plugins, highest priority first.
	Names() []string
	Spec(name string) (*plugins.Spec, bool)
	// Schema is the compiled schema of a part, or nil.
	Schema(name string, p plugins.Part) *schema.Schema
}

// Keyring encrypts what must not lie in the store in clear. *secret.Keyring is
// one; without keys it leaves everything as it is.
type Keyring interface {
	// EncryptKey encrypts a private key in PEM form and leaves everything else.
	EncryptKey(pem string) string
	DecryptKey(text string) (string, error)
	// EncryptFields encrypts the strings at dotted paths of a document, in place.
	EncryptFields(fields []string, conf any)
	// DecryptFields is the inverse; what no key opens stays as it is.
	DecryptFields(fields []string, conf any) []error
}

// Options are the parts and settings of the Admin API.
type Options struct {
	Store configcenter.Store
	// Cache is a local, possibly slightly stale view for the checks that do not
	// need the latest state (who uses this, duplicate keys); nil means Store.
	Cache Lister
	// Plugins returns the enabled plugins as they are now.
	Plugins func() (http, stream Plugins)
	// Registry is every plugin of the binary, enabled or not: plugin_metadata
	// may be written before its plugin is enabled.
	Registry plugins.Registry
	Keyring  Keyring // nil: nothing is encrypted
	// EncryptFields says that the encrypt_fields of plugins are encrypted.
	EncryptFields bool

	// Try builds an object as the gateway would and throws the result away; nil
	// means that schemas and references are all that is checked.
	Try func(k resource.Kind, id string, obj any) error
	// TryPlugin does the same for one plugin's configuration, defaults filled
	// in. Its error is shown after "failed to check the configuration of
	// plugin X err: ".
	TryPlugin func(s *plugins.Spec, owner string, conf []byte, stream bool) error
	// Vars checks a vars expression; nil means any list is accepted.
	Vars func(expr []byte) error

	Keys []Key // empty: everybody gets in (admin_key is null)
	// KeyRequired false lets everybody in (admin_key_required).
	KeyRequired bool
	AllowAdmin  []netip.Prefix // nil: everybody
	CORS        bool
	HideVersion bool // Server: APISIX without the version (enable_server_tokens false)
	V2          bool // answer in the old envelope (admin_api_version other than v3)
	StreamMode  bool // proxy_mode has stream
	Protocols   []string
	// Standalone is set when the configuration comes through the Admin API
	// itself (config_provider yaml); only its paths exist then.
	Standalone *Standalone
	// Reload reads the plugin lists anew (PUT plugins/reload).
	Reload func(context.Context) error

	Now func() time.Time
	Log *slog.Logger
}

// Lister lists all objects of a kind in key order.
type Lister interface {
	List(ctx context.Context, k resource.Kind) ([]configcenter.Change, error)
}

// Handler serves the Admin API.
type Handler struct {
	Options
	server  string
	kinds   map[string]*kind
	keys    []hashedKey
	schemas map[string]*schema.Schema // of the kinds, by singular name
	secrets map[string]*schema.Schema // of the secret managers
	redis   *schema.Schema            // of protocol.conf
}

// New makes the handler. It fails only for a schema that does not compile.
func New(o Options) (*Handler, error) {
	h := &Handler{Options: o, server: serverName(o.HideVersion), keys: hashKeys(o.Keys)}
	if h.Cache == nil {
		h.Cache = o.Store
	}
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	if err := h.compile(); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if h.Standalone != nil {
		h.Standalone.handler = h
	}
	return h, nil
}

func serverName(hide bool) string {
	if hide {
		return "APISIX"
	}
	return "APISIX/" + Version
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", h.server)
	if !h.allowed(r) {
		writePage(w, http.StatusForbidden)
		return
	}
	p := cleanPath(r.URL.Path)
	if !strings.HasPrefix(p, root) {
		writePage(w, http.StatusNotFound)
		return
	}
	if h.CORS {
		if r.Method == http.MethodOptions {
			preflight(w.Header())
			return
		}
		allowOrigin(w.Header())
	}
	w.Header().Set("Content-Type", "application/json")
	serve := h.route(r.Method, p)
	if serve == nil {
		writePage(w, http.StatusNotFound)
		return
	}
	serve(w, r, p).write(w, r)
}

// serveFunc answers a request for the cleaned path.
type serveFunc func(w http.ResponseWriter, r *http.Request, path string) answer

// route finds who answers; nil for what does not exist.
func (h *Handler) route(method, p string) serveFunc {
	switch {
	case p == root && method == http.MethodHead:
		return func(http.ResponseWriter, *http.Request, string) answer { return answer{code: http.StatusOK} }
	case p == root+"/configs/validate" && method == http.MethodPost:
		return h.authorized(h.validateConfigs)
	case h.Standalone != nil:
		if p == root+"/configs" && (method == http.MethodGet || method == http.MethodPut || method == http.MethodHead) {
			return h.authorized(h.Standalone.serve)
		}
		return nil
	case !genericMethods[method]:
		return nil
	case p == root+"/plugins/list" && method == http.MethodGet:
		return h.authorized(h.pluginList)
	case strings.HasPrefix(p, root+"/schema/validate/") && method == http.MethodPost:
		return h.authorized(h.validateSchema)
	case p == root+"/plugins/reload":
		return h.authorized(h.reload)
	case strings.HasPrefix(p, root+"/"):
		return h.authorized(h.generic)
	}
	return nil
}

var genericMethods = map[string]bool{http.MethodGet: true, http.MethodPut: true,
	http.MethodPost: true, http.MethodDelete: true, http.MethodPatch: true}

// cleanPath resolves dot segments and repeated slashes and keeps a final slash.
func cleanPath(p string) string {
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

func preflight(head http.Header) {
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Allow-Methods", "POST, GET, PUT, OPTIONS, DELETE, PATCH")
	head.Set("Access-Control-Max-Age", "3600")
	head.Set("Access-Control-Allow-Headers", "*")
	head.Set("Access-Control-Allow-Credentials", "true")
	head.Set("Content-Length", "0")
	head.Set("Content-Type", "text/plain")
}

func allowOrigin(head http.Header) {
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Allow-Credentials", "true")
	head.Set("Access-Control-Expose-Headers", "*")
	head.Set("Access-Control-Max-Age", "3600")
}

// NewServer is an http.Server for h with every timeout set; cmd gives it its
// listener.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      120 * time.Second, // above the longest long poll of the control API
		IdleTimeout:       75 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	if log != nil {
		s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return s
}
