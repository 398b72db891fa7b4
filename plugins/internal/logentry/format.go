package logentry

import (
	"encoding/json"
	"maps"
	"slices"

	"sluice/plugins"
)

// maxDepth is how deep objects in a log_format may be nested.
const maxDepth = 5

// field is one member of a compiled format: a variable, an object, or text
// that is there already.
type field struct {
	key   string
	name  []byte // the key as JSON, with its colon
	get   plugins.Getter
	body  bool    // the request's body
	raw   bool    // the value is a number
	inner []field // of an object; nil: none
	text  []byte  // as JSON
}

// compile resolves a format: strings that begin with "$" are variables. It
// reports whether one is the request's body.
func compile(format map[string]any, depth int, env *plugins.Env) (fields []field, body bool, err error) {
	fields = []field{}
	for _, key := range slices.Sorted(maps.Keys(format)) {
		f := field{key: key, name: append(AppendString(nil, key), ':')}
		switch v := format[key].(type) {
		case map[string]any:
			if depth >= maxDepth {
				env.Log.Warn("log_format nesting exceeds max depth 5, truncating", "field", key)
				v = nil
			}
			var has bool
			if f.inner, has, err = compile(v, depth+1, env); err != nil {
				return nil, false, err
			}
			body = body || has
		case string:
			if len(v) == 0 || v[0] != '$' {
				f.text = AppendString(nil, v)
				break
			}
			if err := plugins.CheckVariable(v[1:]); err != nil {
				return nil, false, err
			}
			f.body = v[1:] == "request_body"
			body = body || f.body
			f.raw = v[1:] == "status" // the only number among nginx's
			f.get = plugins.Variable(v[1:])
		default:
			if f.text, err = json.Marshal(v); err != nil {
				return nil, false, err
			}
		}
		fields = append(fields, f)
	}
	return fields, body, nil
}

// write adds the members that have a value and that skip (nil: none) does not take out.
func (l *Log) write(o *object, c *plugins.Ctx, fields []field, skip func(key string) bool) {
	for i := range fields {
		f := &fields[i]
		if skip != nil && skip(f.key) {
			continue
		}
		switch {
		case f.text != nil:
			o.comma()
			o.b = append(append(o.b, f.name...), f.text...)
		case f.inner != nil:
			o.comma()
			o.b = append(o.b, f.name...)
			o.open()
			l.write(o, c, f.inner, nil)
			o.close()
		case f.body:
			if b := l.requestBody(c); len(b) > 0 {
				o.comma()
				o.b = AppendString(append(o.b, f.name...), b)
			}
		default:
			if v, ok := f.get(c); ok && f.raw && c.Resp != nil {
				o.comma()
				o.b = append(append(o.b, f.name...), v...)
			} else if ok {
				o.comma()
				o.b = AppendString(append(o.b, f.name...), v)
			}
		}
	}
}
