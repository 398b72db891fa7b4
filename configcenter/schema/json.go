package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// reader is a decoder with its input, pooled together.
type reader struct {
	src bytes.Reader
	dec *jsontext.Decoder

	names map[string]string // names of members seen before
}

var readers = sync.Pool{New: func() any {
	r := &reader{names: map[string]string{}}
	r.dec = jsontext.NewDecoder(&r.src)
	return r
}}

// Decode reads one JSON value: map[string]any, []any, string, json.Number,
// bool or nil. Unlike encoding/json it refuses two members of one name,
// invalid UTF-8, and anything after the value.
func Decode(raw []byte) (any, error) { return decode(raw, false) }

// decodeOrdered is Decode with *object for objects.
func decodeOrdered(raw []byte) (any, error) { return decode(raw, true) }

func decode(raw []byte, ordered bool) (any, error) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.src.Reset(raw)
	r.dec.Reset(&r.src)
	v, err := r.value(ordered)
	if err != nil {
		return nil, err
	}
	switch _, err := r.dec.ReadToken(); err {
	case io.EOF:
		return v, nil
	case nil:
		return nil, fmt.Errorf("more data after the JSON value at offset %d", r.dec.InputOffset())
	default:
		return nil, err
	}
}

func (r *reader) value(ordered bool) (any, error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch t.Kind() {
	case '{':
		if ordered {
			return r.ordered()
		}
		return r.object()
	case '[':
		return r.array(ordered)
	case '"':
		return t.String(), nil
	case '0':
		return json.Number(t.String()), nil
	case 'n':
		return nil, nil
	default:
		return t.Bool(), nil
	}
}

// objects are maps that Recycle got back.
var objects = sync.Pool{New: func() any { return map[string]any{} }}

// maxRecycled keeps a huge object from being cleared again and again.
const maxRecycled = 64

// Recycle gives the objects of a document back for later documents to use.
// Nobody may touch the document after that. It spares those who read a hundred
// thousand documents, one after the other, most of the work of making maps.
func Recycle(doc any) {
	switch v := doc.(type) {
	case []any:
		for _, e := range v {
			Recycle(e)
		}
	case map[string]any:
		for _, e := range v {
			Recycle(e)
		}
		if len(v) <= maxRecycled {
			clear(v)
			objects.Put(v)
		}
	}
}

func (r *reader) object() (any, error) {
	m := objects.Get().(map[string]any)
	for r.dec.PeekKind() != '}' {
		name, v, err := r.member(false)
		if err != nil {
			return nil, err
		}
		m[name] = v
	}
	_, err := r.dec.ReadToken()
	return m, err
}

func (r *reader) ordered() (any, error) {
	o := &object{m: map[string]any{}}
	for r.dec.PeekKind() != '}' {
		name, v, err := r.member(true)
		if err != nil {
			return nil, err
		}
		o.keys = append(o.keys, name)
		o.m[name] = v
	}
	_, err := r.dec.ReadToken()
	return o, err
}

func (r *reader) member(ordered bool) (string, any, error) {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return "", nil, err
	}
	name, err := r.name(raw)
	if err != nil {
		return "", nil, err
	}
	v, err := r.value(ordered)
	return name, v, err
}

// maxNames bounds what one reader remembers of names.
const maxNames = 512

// name reads a member's name. Documents of a kind have the same names over and
// over: those without escapes are remembered.
func (r *reader) name(raw []byte) (string, error) {
	inner := raw[1 : len(raw)-1]
	if name, ok := r.names[string(inner)]; ok {
		return name, nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	name := string(text)
	if err == nil && name == string(inner) && len(r.names) < maxNames && len(name) < maxRecycled {
		r.names[name] = name
	}
	return name, err
}

func (r *reader) array(ordered bool) (any, error) {
	a := []any{}
	for r.dec.PeekKind() != ']' {
		v, err := r.value(ordered)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := r.dec.ReadToken()
	return a, err
}

// object is a JSON object that remembers the order of its members.
type object struct {
	keys []string
	m    map[string]any
}

// get returns the member, or nil; a nil object has none.
func (o *object) get(name string) any {
	if o == nil {
		return nil
	}
	return o.m[name]
}

func (o *object) set(name string, v any) {
	if _, ok := o.m[name]; !ok {
		o.keys = append(o.keys, name)
	}
	o.m[name] = v
}

// plain turns ordered objects into maps, for values such as defaults.
func plain(v any) any {
	switch v := v.(type) {
	case *object:
		m := make(map[string]any, len(v.keys))
		for k, e := range v.m {
			m[k] = plain(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, e := range v {
			a[i] = plain(e)
		}
		return a
	}
	return v
}

// texts returns the strings of an array; nil for anything else.
func texts(v any) []string {
	a, _ := v.([]any)
	var out []string
	for _, e := range a {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Encode is the inverse of Decode. Members are sorted by name, so that equal
// documents have equal texts.
func Encode(doc any) (json.RawMessage, error) { return Append(nil, doc) }

// Append is Encode behind b.
func Append(b []byte, doc any) ([]byte, error) { return appendValue(b, doc) }

func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return jsontext.AppendQuote(b, v)
	case json.Number:
		if v == "" {
			return append(b, '0'), nil
		}
		return append(b, v...), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		return appendMembers(b, sorted(v), v)
	case *object:
		return appendMembers(b, v.keys, v.m)
	default:
		t, err := json.Marshal(v)
		return append(b, t...), err
	}
}

func appendMembers(b []byte, keys []string, m map[string]any) ([]byte, error) {
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = jsontext.AppendQuote(b, k); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendValue(b, m[k]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}
