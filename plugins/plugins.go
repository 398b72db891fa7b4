// Package plugins is the contract between the gateway and its plugins: what a
// plugin declares (Spec), where it acts on a request's walk (Phases), what it
// sees (Ctx), what it may reach (Env), and how it ends a request (Reply). The
// chain runs the instances of one route, phase by phase.
//
// It does not know any single plugin, nor the router, the balancer or the store.
package plugins

import (
	"encoding/json"
	"io"
	"log/slog"
	"time"

	"sluice/configcenter/resource"
	"sluice/gateway/wire"
)

// Spec declares one plugin.
type Spec struct {
	Name     string // as in configuration: "ip-restriction"
	Priority int    // higher runs first within a phase
	Version  string // shown by the Admin API; "0.1" where APISIX says so
	// Auth plugins find the consumer; they run in Rewrite, before the consumer's
	// plugins are merged, and may stand in credentials.
	Auth bool
	// Global marks plugins that only make sense as global rule (scope "global" of the Admin API).
	Global bool
	// PreferRoute skips the plugin in global rules when the request's route has it too.
	PreferRoute bool

	Schema   string // JSON Schema of its configuration, with the defaults
	Consumer string // JSON Schema of its part of a consumer, or ""
	Metadata string // JSON Schema of its metadata, or ""

	// ConsumerKey is the member of the consumer part by which a request's
	// credential is looked up ("key" of key-auth, "username" of basic-auth); ""
	// for plugins without one. Two consumers must not share its value.
	ConsumerKey string
	// NewConsumer decodes the consumer part once per version; nil keeps the text.
	NewConsumer func(json.RawMessage) (any, error)

	// Refs are other stored objects of which an instance is made: it is built anew
	// when one of them changes. conf is as for New; nil for plugins without any.
	Refs func(conf json.RawMessage) []resource.Ref
	// New builds an instance from a configuration that passed Schema and has
	// its defaults filled in. It must not block on the network.
	New Builder

	// APIs are the routes that public-api makes reachable.
	APIs []API
	// NewAPIs makes those that depend on config.yaml or on shared state: env has
	// Attr, Shared, Log and Now. Called once per process; nil for none.
	NewAPIs func(env *Env) ([]API, error)
}

// Builder makes an instance.
type Builder func(conf json.RawMessage, env *Env) (Phases, error)

// API is an HTTP endpoint that a plugin offers through the public-api plugin.
type API struct {
	Methods []string
	Path    string // exact, or ending in "*"
	Serve   func(*Ctx) (*Reply, error)
}

// Phases is where an instance acts on the walk of a request, in this order.
// A nil field means: not there.
type Phases struct {
	Rewrite     func(*Ctx) (*Reply, error) // before the consumer is known
	Access      func(*Ctx) (*Reply, error)
	BeforeProxy func(*Ctx) (*Reply, error) // upstream chosen, nothing sent yet; again before each retry

	// Received runs when an upstream has answered: its header is in c.Resp as it
	// came, and nothing of ours yet.
	Received      func(*Ctx) error
	HeaderFilter  func(*Ctx) error // response header is in c.Resp
	DelayedHeader func(*Ctx) error // after every HeaderFilter
	BodyFilter    BodyFunc
	DelayedBody   BodyFunc // after every BodyFilter
	Log           func(*Ctx)

	Preread func(*Ctx) (*Reply, error) // stream plugins only
	Close   func()                     // the version holding this instance has drained
}

// BodyFunc gets each piece of the response body and returns what to send on
// (possibly piece itself, or nil to hold it back). last is true exactly once,
// with the final piece, which may be empty. piece is valid until the return and
// not to be changed; what is returned must stay valid until the next call. A
// plugin that changes the length sets c.Resp's ContentLength to -1 in its
// HeaderFilter.
type BodyFunc func(c *Ctx, piece []byte, last bool) ([]byte, error)

// Reply ends the walk: it is the response. Body is sent as is when it is a
// string or []byte, as JSON and a newline otherwise; see also Content. A nil
// Body with a status of 300 or more gets the standard error page of that status.
type Reply struct {
	Status int
	Header wire.Header
	Body   any
}

// Content as a Reply's Body makes the reply one that an upstream gave before:
// nothing is added, no Content-Type either, and Ctx.Exits leaves it alone.
type Content struct {
	Bytes []byte
	// Stream is sent in place of Bytes unless nil; it has Length bytes and is
	// closed when they are sent, or given up.
	Stream io.ReadCloser
	Length int64
}

// Message is the body {"message": …}.
type Message struct {
	Message string `json:"message"`
}

// ErrorMsg is the body {"error_msg": …}.
type ErrorMsg struct {
	ErrorMsg string `json:"error_msg"`
}

// Exit is a reply of code with body.
func Exit(code int, body any) *Reply { return &Reply{Status: code, Body: body} }

// Reject is what the limiting plugins answer: {"error_msg": msg}, or the
// standard error page when msg is empty.
func Reject(code int, msg string) *Reply {
	if msg == "" {
		return &Reply{Status: code}
	}
	return &Reply{Status: code, Body: ErrorMsg{msg}}
}

// Env is all that an instance may reach beside its request.
type Env struct {
	// Key is the instance's identity across versions: resource key, plugin, and
	// hash of its configuration. The same configuration at the same place has
	// the same Key in every version; state hangs on it through Shared.
	Key string
	// Owner is the resource holding the configuration ("routes/1"); Name the plugin.
	Owner, Name string
	Log         *slog.Logger
	Metadata    json.RawMessage // of this version, defaults filled in; nil if none
	// Attr is plugin_attr.<name> of config.yaml as JSON; nil if none.
	Attr   json.RawMessage
	Shared *Shared // state that outlives versions
	Now    func() time.Time
	// Check says that the instance is built only to validate (Admin API); it is
	// closed at once. Builders should not open anything that costs then.
	Check bool

	// Build makes an instance of another plugin, for plugins that contain plugins
	// (workflow, multi-auth, ai-proxy-multi).
	Build func(name string, conf json.RawMessage) (Phases, error)
	// Spec returns the enabled plugin of that name.
	Spec func(name string) (*Spec, bool)
	// Upstream compiles an upstream for Ctx.SetUpstream: the stored one called id,
	// or the inline definition when id is "".
	Upstream func(id string, inline *resource.Upstream) (Upstream, error)
	// APIs are the plugin APIs of the process, for public-api.
	APIs func() []API
	// Object is a stored object of this version, one of those that Spec.Refs
	// names, as its kind's type (*resource.Proto); nil when there is none.
	Object func(resource.Ref) any
}

// Upstream is a compiled upstream: opaque to plugins.
type Upstream interface {
	Def() *resource.Upstream
}

// Build turns a typed constructor into a Builder: decode, then f.
func Build[C any](f func(*C, *Env) (Phases, error)) Builder {
	return func(conf json.RawMessage, env *Env) (Phases, error) {
		var c C
		if err := Decode(conf, &c); err != nil {
			return Phases{}, err
		}
		return f(&c, env)
	}
}

// DecodeConsumer is a Spec.NewConsumer that yields a *C.
func DecodeConsumer[C any](conf json.RawMessage) (any, error) {
	c := new(C)
	if err := Decode(conf, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Registry is the set of plugins of a binary, by name. There is no global one:
// cmd hands plugins/all's to whoever needs it.
type Registry map[string]*Spec

// Degrade is the answer to a failed dependency of a plugin: nil, to go on, when
// allowed, with a warning in the log; err otherwise.
func Degrade(c *Ctx, allowed bool, err error) error {
	if !allowed {
		return err
	}
	c.Log().Warn("plugin degraded", "err", err)
	return nil
}
