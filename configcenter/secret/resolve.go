package secret

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"sluice/configcenter/schema"
)

const (
	secretPrefix = "$secret://"
	envPrefix    = "$env://"
)

// IsRef reports whether a string refers to a secret ($secret://, in this case
// of letters) or to an environment variable ($env://, in any).
func IsRef(s string) bool {
	return strings.HasPrefix(s, secretPrefix) || isEnv(s)
}

func isEnv(s string) bool {
	return len(s) >= len(envPrefix) && strings.EqualFold(s[:len(envPrefix)], envPrefix)
}

// HasRef reports whether a document has a reference in it: what still has one
// after Fill must not be used as a credential.
func HasRef(doc any) bool {
	switch v := doc.(type) {
	case string:
		return IsRef(v)
	case []any:
		for _, e := range v {
			if HasRef(e) {
				return true
			}
		}
	case map[string]any:
		for _, e := range v {
			if HasRef(e) {
				return true
			}
		}
	}
	return false
}

// Options are the bounds of apisix.lru.secret, and what to reach out with. The
// zero value takes APISIX's bounds.
type Options struct {
	TTL      time.Duration // how long a value is kept; 300 s when 0
	NegTTL   time.Duration // how long a failure is kept; 60 s when 0
	Count    int           // how many values are kept; 512 when 0
	NegCount int           // how many failures are kept; 512 when 0

	Client *http.Client                     // http.DefaultClient when nil
	Env    func(name string) (string, bool) // os.LookupEnv when nil
	Now    func() time.Time                 // time.Now when nil
}

// Find returns the configuration of a secret manager by its id ("vault/1"), as
// stored with its defaults; nil if there is none.
type Find func(id string) json.RawMessage

// Resolver resolves references. It is safe for concurrent use.
type Resolver struct {
	o      Options
	values *lru.Cache[place, found]
	fails  *lru.Cache[place, found]
	tokens *lru.Cache[string, found] // access tokens of Google
}

// place is a reference under one configuration of its manager: when that
// changes, nothing that was kept is used.
type place struct {
	ref  string
	conf [sha256.Size]byte
}

// found is what a manager answered, and until when that counts.
type found struct {
	value any
	err   error
	until time.Time
}

// timeout bounds one request to a manager.
const timeout = 5 * time.Second

// NewResolver makes a resolver.
func NewResolver(o Options) (*Resolver, error) {
	o.TTL, o.NegTTL = orDefault(o.TTL, 300*time.Second), orDefault(o.NegTTL, 60*time.Second)
	o.Count, o.NegCount = orDefault(o.Count, 512), orDefault(o.NegCount, 512)
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	// A redirect would carry the manager's token to wherever it points.
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.Client = &client
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Resolver{o: o}
	var err error
	if r.values, err = lru.New[place, found](o.Count); err != nil {
		return nil, fmt.Errorf("secret cache of %d: %w", o.Count, err)
	}
	if r.fails, err = lru.New[place, found](o.NegCount); err != nil {
		return nil, fmt.Errorf("secret cache of %d failures: %w", o.NegCount, err)
	}
	r.tokens, err = lru.New[string, found](o.Count)
	return r, err
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Fill replaces, in place, every reference in a document as made by
// schema.Decode, and returns the document. A reference that cannot be resolved
// stays as it is; the errors name it and say why.
func (r *Resolver) Fill(ctx context.Context, doc any, find Find) (any, []error) {
	return fillWith(doc, func(ref string) (any, error) { return r.Value(ctx, ref, find) })
}

func fillWith(doc any, value func(ref string) (any, error)) (any, []error) {
	var errs []error
	var fill func(any) any
	fill = func(v any) any {
		switch v := v.(type) {
		case string:
			if !IsRef(v) {
				return v
			}
			got, err := value(v)
			if err != nil {
				errs = append(errs, err)
				return v
			}
			return got
		case []any:
			for i := range v {
				v[i] = fill(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = fill(v[k])
			}
		}
		return v
	}
	return fill(doc), errs
}

// Value resolves one reference. The value is a string, or whatever JSON value
// the manager has there.
func (r *Resolver) Value(ctx context.Context, ref string, find Find) (any, error) {
	var v any
	var err error
	switch {
	case isEnv(ref):
		v, err = r.env(ref[len(envPrefix):])
	case strings.HasPrefix(ref, secretPrefix):
		v, err = r.secret(ctx, ref, find)
	default:
		err = errors.New("not a reference")
	}
	if err == nil && v == nil {
		err = errors.New("no value")
	}
	if err != nil {
		return nil, fmt.Errorf("secret reference %s: %w", ref, err)
	}
	return v, nil
}

// kept is the last value of a reference to a manager, however old.
func (r *Resolver) kept(ref string, find Find) (any, bool) {
	id, _, err := split(ref)
	if err != nil {
		return nil, false
	}
	conf := find(id)
	if conf == nil {
		return nil, false
	}
	f, ok := r.values.Get(place{ref: ref, conf: sha256.Sum256(conf)})
	return f.value, ok
}

// split cuts $secret://manager/id/key into "manager/id" and "key".
func split(ref string) (id, key string, err error) {
	manager, rest, ok := strings.Cut(ref[len(secretPrefix):], "/")
	if !ok {
		return "", "", errors.New("error format: no secret manager")
	}
	conf, key, ok := strings.Cut(rest, "/")
	if !ok {
		return "", "", errors.New("error format: no secret conf id")
	}
	if key == "" {
		return "", "", errors.New("error format: no secret key id")
	}
	return manager + "/" + conf, key, nil
}

// env reads NAME, or the member NAME/member of a variable that is JSON.
func (r *Resolver) env(path string) (any, error) {
	name, member, _ := strings.Cut(path, "/")
	text, ok := r.o.Env(name)
	if !ok {
		return nil, nil
	}
	if member == "" {
		return text, nil
	}
	return memberOf([]byte(text), member)
}

// memberOf reads one member of a JSON object. Its error does not show the text.
func memberOf(text []byte, member string) (any, error) {
	doc, err := schema.Decode(text)
	if err != nil {
		return nil, errors.New("decode failed: the value is no JSON")
	}
	m, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("decode failed: the value is no JSON object")
	}
	return m[member], nil
}

// secret asks a manager, or remembers what it said.
func (r *Resolver) secret(ctx context.Context, ref string, find Find) (any, error) {
	id, key, err := split(ref)
	if err != nil {
		return nil, err
	}
	conf := find(id)
	if conf == nil {
		return nil, errors.New("no secret conf")
	}
	at := place{ref: ref, conf: sha256.Sum256(conf)}
	now := r.o.Now()
	kept, had := r.values.Get(at)
	if had && now.Before(kept.until) {
		return kept.value, nil
	}
	if f, ok := r.fails.Get(at); ok && now.Before(f.until) {
		return staleOr(kept, had, f.err)
	}
	manager, _, _ := strings.Cut(id, "/")
	v, err := r.ask(ctx, manager, conf, key)
	if err == nil && v == nil {
		err = errors.New("no value")
	}
	if err != nil {
		if ctx.Err() == nil { // the caller's haste says nothing about the manager
			r.fails.Add(at, found{err: err, until: now.Add(r.o.NegTTL)})
		}
		return staleOr(kept, had, err)
	}
	r.fails.Remove(at)
	r.values.Add(at, found{value: v, until: now.Add(r.o.TTL)})
	return v, nil
}

// staleOr prefers a value that is too old to none: a manager that is down must
// not take the gateway with it.
func staleOr(kept found, had bool, err error) (any, error) {
	if had {
		return kept.value, nil
	}
	return nil, err
}

func (r *Resolver) ask(ctx context.Context, manager string, conf json.RawMessage, key string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch manager {
	case "vault":
		return r.vault(ctx, conf, key)
	case "aws":
		return r.aws(ctx, conf, key)
	case "gcp":
		return r.gcp(ctx, conf, key)
	}
	return nil, fmt.Errorf("no secret manager: %s", manager)
}

// own resolves a manager's own credential, which may stand in the environment.
func (r *Resolver) own(text string) string {
	if isEnv(text) {
		if v, err := r.env(text[len(envPrefix):]); err == nil {
			if s, ok := v.(string); ok {
				return s
			}
		}
	}
	return text
}
