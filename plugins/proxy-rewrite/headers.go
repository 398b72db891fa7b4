package proxyrewrite

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// headers is the member of that name in both its forms: {add, set, remove}, or
// names and values to set.
type headers struct {
	Add    fields   `json:"add"`
	Set    fields   `json:"set"`
	Remove []string `json:"remove"`
	flat   bool
}

// fields are names with values; each a text, a number, or a list of these.
type fields map[string]values

type values []string

// UnmarshalJSON tells the forms apart.
func (h *headers) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	for name, open := range map[string]byte{"add": '{', "set": '{', "remove": '['} {
		if m := members[name]; len(m) > 0 && m[0] == open {
			type plain headers
			return json.Unmarshal(b, (*plain)(h))
		}
	}
	h.flat = true
	return json.Unmarshal(b, &h.Set)
}

// UnmarshalJSON accepts one value as a list of one. A number stays as written.
func (v *values) UnmarshalJSON(b []byte) error {
	list := []json.RawMessage{b}
	if b[0] == '[' {
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
	}
	*v = make(values, len(list))
	for i, x := range list {
		if x = bytes.TrimSpace(x); x[0] != '"' {
			(*v)[i] = string(x)
		} else if err := json.Unmarshal(x, &(*v)[i]); err != nil {
			return err
		}
	}
	return nil
}

// operations are headers, compiled. Add comes first, then set, then remove.
type operations struct {
	add, set []operation
	remove   []string
}

type operation struct {
	name   string
	values []*value
}

func (h *headers) compile() (*operations, error) {
	var o operations
	var err error
	if o.add, err = h.Add.compile(h.flat); err != nil {
		return nil, err
	}
	if o.set, err = h.Set.compile(h.flat); err != nil {
		return nil, err
	}
	for _, name := range h.Remove {
		if !isOurs(name) {
			o.remove = append(o.remove, name)
		}
	}
	if o.add == nil && o.set == nil && o.remove == nil {
		return nil, nil
	}
	return &o, nil
}

func (f fields) compile(strict bool) ([]operation, error) {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	var list []operation
	for _, name := range names {
		if !validName(name) {
			return nil, errors.New("invalid field character in header")
		}
		if isOurs(name) {
			continue
		}
		op := operation{name: name}
		for _, text := range f[name] {
			if strict && !validValue(text) {
				return nil, errors.New("invalid value character in header")
			}
			v, err := parseValue(text)
			if err != nil {
				return nil, err
			}
			op.values = append(op.values, v)
		}
		list = append(list, op)
	}
	return list, nil
}

// isOurs are the fields that say how the message to the upstream is framed and
// which host it is for (that is member "host"): they are not for rewriting.
func isOurs(name string) bool {
	switch strings.ToLower(name) {
	case "host", "connection", "content-length", "transfer-encoding", "keep-alive",
		"te", "trailer", "upgrade", "proxy-connection", "http2-settings":
		return true
	}
	return false
}

func validName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

func validValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func (o *operations) apply(c *plugins.Ctx, captures []string) {
	h := &c.Req.Header
	for i := range o.add {
		op := &o.add[i]
		for _, v := range op.values {
			h.Add(op.name, v.render(c, captures))
		}
	}
	for i := range o.set {
		o.set[i].put(c, h, captures)
	}
	for _, name := range o.remove {
		h.Del(name)
	}
}

// put replaces a field; one that comes out empty is removed. Values are made
// before the field goes: they may be made of it.
func (op *operation) put(c *plugins.Ctx, h *wire.Header, captures []string) {
	if len(op.values) == 1 {
		if v := op.values[0].render(c, captures); v != "" {
			h.Set(op.name, v)
		} else {
			h.Del(op.name)
		}
		return
	}
	list := make([]string, len(op.values))
	for i, v := range op.values {
		list[i] = v.render(c, captures)
	}
	h.Del(op.name)
	for _, v := range list {
		h.Add(op.name, v)
	}
}
