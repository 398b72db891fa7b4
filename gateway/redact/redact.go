// Package redact keeps known secrets out of texts that people read: errors,
// log lines, answers. It does not know what makes a text a secret.
package redact

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Mask stands where a secret was.
const Mask = "******"

// Texts are secrets. The nil Texts are none. Immutable; safe for concurrent use.
type Texts struct {
	list []string // longest first: one may lie within another
}

// whole is the length below which a secret is masked only where it stands
// alone: "1" or "abc" are part of many words.
const whole = 6

// New makes Texts of what lies in clear; nil when that is nothing.
func New(secrets []string) *Texts {
	var list []string
	for _, s := range secrets {
		if s == "" || s == "true" || s == "false" {
			continue
		}
		list = append(list, s)
		// as it looks in JSON and in Go's quotes
		if b, err := json.Marshal(s); err == nil {
			list = append(list, string(b[1:len(b)-1]))
		}
		if q := fmt.Sprintf("%q", s); len(q) > 2 {
			list = append(list, q[1:len(q)-1])
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return &Texts{slices.Compact(list)}
}

// Conf makes Texts of what lies at the dotted paths of a configuration; a path
// leads through objects and the items of arrays.
func Conf(conf json.RawMessage, paths []string) *Texts { return New(Strings(conf, paths)) }

// Strings are all strings at and below the dotted paths of a JSON document.
func Strings(conf json.RawMessage, paths []string) []string {
	var doc any
	if len(paths) == 0 || json.Unmarshal(conf, &doc) != nil {
		return nil
	}
	var list []string
	for _, p := range paths {
		list = at(list, doc, strings.Split(p, "."))
	}
	return list
}

func at(list []string, v any, path []string) []string {
	if items, ok := v.([]any); ok {
		for _, e := range items {
			list = at(list, e, path)
		}
		return list
	}
	if len(path) == 0 {
		return below(list, v)
	}
	if m, ok := v.(map[string]any); ok {
		return at(list, m[path[0]], path[1:])
	}
	return list
}

func below(list []string, v any) []string {
	switch v := v.(type) {
	case string:
		return append(list, v)
	case []any:
		for _, e := range v {
			list = below(list, e)
		}
	case map[string]any:
		for _, e := range v {
			list = below(list, e)
		}
	}
	return list
}

// Differing are the strings of a document that stand where another text stood
// before: values that references were replaced with.
func Differing(before, after json.RawMessage) []string {
	var a, b any
	if bytes.Equal(before, after) || json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		return nil
	}
	return differing(nil, a, b)
}

func differing(list []string, a, b any) []string {
	switch b := b.(type) {
	case []any:
		if before, ok := a.([]any); ok && len(before) == len(b) {
			for i := range b {
				list = differing(list, before[i], b[i])
			}
			return list
		}
	case map[string]any:
		if before, ok := a.(map[string]any); ok {
			for name := range b {
				list = differing(list, before[name], b[name])
			}
			return list
		}
	}
	if s, ok := a.(string); ok && b != any(s) {
		return below(list, b)
	}
	return list
}

// Masked is a JSON document with Mask in place of the strings at the paths. It
// is the document itself when there are none.
func Masked(conf json.RawMessage, paths []string) json.RawMessage {
	if len(Strings(conf, paths)) == 0 {
		return conf
	}
	d := json.NewDecoder(bytes.NewReader(conf))
	d.UseNumber()
	var doc any
	if d.Decode(&doc) != nil {
		return conf
	}
	for _, p := range paths {
		doc = masked(doc, strings.Split(p, "."))
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return conf
	}
	return out
}

func masked(v any, path []string) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = masked(v[i], path)
		}
	case map[string]any:
		for name := range v {
			if len(path) == 0 {
				v[name] = masked(v[name], nil)
			} else if name == path[0] {
				v[name] = masked(v[name], path[1:])
			}
		}
	case string:
		if len(path) == 0 {
			return Mask
		}
	}
	return v
}

// Text is s with the secrets masked.
func (t *Texts) Text(s string) string {
	if t == nil {
		return s
	}
	for _, secret := range t.list {
		if strings.Contains(s, secret) {
			s = mask(s, secret)
		}
	}
	return s
}

func mask(s, secret string) string {
	if len(secret) >= whole {
		return strings.ReplaceAll(s, secret, Mask)
	}
	var b strings.Builder
	for from := 0; ; {
		i := strings.Index(s[from:], secret)
		if i < 0 {
			return b.String() + s[from:]
		}
		at, end := from+i, from+i+len(secret)
		b.WriteString(s[from:at])
		if at > 0 && word(s[at-1]) || end < len(s) && word(s[end]) {
			b.WriteString(secret)
		} else {
			b.WriteString(Mask)
		}
		from = end
	}
}

func word(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Error is err with the secrets masked in its text; what it wraps can still be
// asked for with errors.As.
func (t *Texts) Error(err error) error {
	if t == nil || err == nil {
		return err
	}
	text := err.Error()
	if masked := t.Text(text); masked != text {
		return &masking{err, masked}
	}
	return err
}

type masking struct {
	err  error
	text string
}

func (m *masking) Error() string { return m.text }
func (m *masking) Unwrap() error { return m.err }

// Logger is l with the secrets masked in all that it writes.
func (t *Texts) Logger(l *slog.Logger) *slog.Logger {
	if t == nil || l == nil {
		return l
	}
	return slog.New(&handler{l.Handler(), t})
}

// handler masks what it passes on.
type handler struct {
	next slog.Handler
	t    *Texts
}

// Enabled is of slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle is of slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.t.Text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, out)
}

// WithAttrs is of slog.Handler.
func (h *handler) WithAttrs(list []slog.Attr) slog.Handler {
	masked := make([]slog.Attr, len(list))
	for i, a := range list {
		masked[i] = h.attr(a)
	}
	return &handler{h.next.WithAttrs(masked), h.t}
}

// WithGroup is of slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler { return &handler{h.next.WithGroup(name), h.t} }

func (h *handler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, h.t.Text(v.String()))
	case slog.KindGroup:
		list := v.Group()
		masked := make([]slog.Attr, len(list))
		for i, inner := range list {
			masked[i] = h.attr(inner)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(masked...)}
	case slog.KindAny:
		text := shown(v.Any())
		inside, _ := json.Marshal(v.Any()) // what the handler for JSON would follow
		if masked := h.t.Text(text); masked != text || h.t.Text(string(inside)) != string(inside) {
			return slog.String(a.Key, masked)
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}

// shown is a value as slog's handlers would write it, near enough.
func shown(v any) string {
	switch v := v.(type) {
	case error:
		return v.Error()
	case []byte:
		return string(v)
	case json.RawMessage:
		return string(v)
	}
	return fmt.Sprintf("%+v", v)
}
