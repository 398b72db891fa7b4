package lua

import (
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/syntax"
	"sluice/gateway/lua/template"
	"sluice/gateway/lua/value"
	"sluice/plugins"
)

// Template is a text with Lua in it, as gateway/lua/template has it.
type Template struct{ p *Program }

// Template compiles a template.
func (h *Host) Template(text string) (*Template, error) {
	p, err := h.build(whole, texts{}, nil, []string{template.Lua(text)}, []string{"template"})
	if err != nil {
		return nil, err
	}
	return &Template{p}, nil
}

// Close gives the template back.
func (t *Template) Close() { t.p.Close() }

// Input is the body that a template is rendered with.
type Input struct {
	Body        []byte // nil: there is none
	Format      string // "json", "xml", "encoded", "args", "multipart"; else it is not decoded
	ContentType string // of the body, for "multipart"
}

// DecodeError says that the body is not of the format.
type DecodeError struct{ Err error }

func (e *DecodeError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// Render is the text of the template: names in it are those of the decoded body
// first, then _ctx, _body, _escape_xml, _escape_json and _multipart.
func (t *Template) Render(c *plugins.Ctx, phase string, in Input) ([]byte, error) {
	s, err := t.p.h.enter(c, phase)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	ld, err := s.get(t.p)
	if err != nil {
		return nil, s.plain(err)
	}
	context, err := s.context(&in)
	if err != nil {
		return nil, &DecodeError{err}
	}
	r := rendering{s: s, base: ld.env}
	text, err := r.run(s.l, t.p.protos[0], context)
	if err != nil {
		return nil, s.plain(err)
	}
	return []byte(text), nil
}

// reserved are the names of a context that no body may take.
var reserved = [...]string{"_ctx", "_body", "_escape_xml", "_escape_json", "_multipart"}

// context is the decoded body, with the reserved names behind it.
func (s *state) context(in *Input) (*lua.LTable, error) {
	t, parts, err := s.decodeBody(in)
	if err != nil {
		return nil, err
	}
	more := value.Table()
	more.RawSetString("_ctx", s.ctx)
	if in.Body != nil {
		more.RawSetString("_body", lua.LString(in.Body))
	}
	more.RawSetString("_escape_xml", s.l.NewFunction(escapeXML))
	more.RawSetString("_escape_json", s.l.NewFunction(s.escapeJSON))
	if parts != nil {
		more.RawSetString("_multipart", parts.Object(s.l))
	}
	for _, name := range reserved {
		if t.RawGetString(name) != lua.LNil {
			t.RawSetString(name, lua.LNil)
		}
	}
	mt := value.Table()
	mt.RawSetString("__index", more)
	t.Metatable = mt
	return t, nil
}

func (s *state) decodeBody(in *Input) (*lua.LTable, *lib.Multipart, error) {
	if in.Format == "args" {
		t, _ := lib.DecodeArgs(s.l, s.c.Query, lib.MaxArgs)
		return t, nil, nil
	}
	if in.Body == nil {
		return value.Table(), nil, nil
	}
	switch in.Format {
	case "json":
		v, err := value.Decode(in.Body)
		if err != nil {
			return nil, nil, err
		}
		t, ok := v.(*lua.LTable)
		if !ok {
			return nil, nil, fmt.Errorf("table expected, got %s", v.Type())
		}
		return t, nil, nil
	case "xml":
		t, err := lib.DecodeXML(in.Body)
		return t, nil, err
	case "encoded":
		t, _ := lib.DecodeArgs(s.l, string(in.Body), lib.MaxArgs)
		return t, nil, nil
	case "multipart":
		m := lib.DecodeMultipart(string(in.Body), in.ContentType)
		return m.All(), m, nil
	}
	return value.Table(), nil, nil
}

func (s *state) escapeJSON(l *lua.LState) int {
	b, err := s.encode(l.Get(1))
	if err != nil {
		return lib.Fail(l, err.Error())
	}
	l.Push(lua.LString(b))
	return 1
}

var (
	xmlEntities  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")
	htmlEntities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "/", "&#47;")
	codeEntities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "/", "&#47;",
		"{", "&#123;", "}", "&#125;")
)

// escapeXML returns the text and, as string.gsub does, a count: of the quotes.
func escapeXML(l *lua.LState) int {
	text := l.CheckString(1)
	l.Push(lua.LString(xmlEntities.Replace(text)))
	l.Push(lua.LNumber(strings.Count(text, `"`)))
	return 2
}

// rendering is the rendering of a template and of those that it includes.
type rendering struct {
	s    *state
	base *lua.LTable // globals
	deep int
}

// maxIncluded is how deep templates may include each other.
const maxIncluded = 50

// run renders a compiled template with a context.
func (r *rendering) run(l *lua.LState, proto *lua.FunctionProto, context lua.LValue) (string, error) {
	env, mt := value.Table(), value.Table()
	mt.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		key := l.Get(2)
		v := l.GetTable(context, key)
		if !lua.LVAsBool(v) {
			v = l.GetTable(r.base, key)
		}
		l.Push(v)
		return 1
	}))
	mt.RawSetString("__metatable", lua.LFalse)
	env.Metatable = mt
	env.RawSetString("context", context)
	l.Push(r.s.function(proto, env))
	l.Push(context)
	for _, f := range [...]lua.LGFunction{r.escape, r.output, r.echo,
		func(l *lua.LState) int {
			with := l.Get(2)
			if !lua.LVAsBool(with) {
				with = context
			}
			l.Push(lua.LString(r.include(l, l.CheckString(1), with)))
			return 1
		},
		func(l *lua.LState) int { l.Push(lua.LString(r.end(l, context))); return 1 },
	} {
		l.Push(l.NewFunction(f))
	}
	if err := l.PCall(6, 1, nil); err != nil {
		return "", err
	}
	text := lua.LVAsString(l.Get(-1))
	l.Pop(1)
	return text, nil
}

// include renders another template.
func (r *rendering) include(l *lua.LState, text string, context lua.LValue) string {
	if r.deep++; r.deep > maxIncluded {
		l.RaiseError("templates include each other more than %d deep", maxIncluded)
	}
	proto, err := r.s.h.included(text)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	out, err := r.run(l, proto, context)
	if err != nil {
		l.RaiseError("%s", plain(err).Error())
	}
	r.deep--
	return out
}

// maxCached is the longest included template that is kept compiled, in bytes.
const maxCached = 64 << 10

// included compiles a template that another one includes, and keeps it.
func (h *Host) included(text string) (*lua.FunctionProto, error) {
	if p, ok := h.includes.Get(text); ok {
		return p, nil
	}
	p, err := syntax.Compile(template.Lua(text), "template")
	if err == nil && len(text) <= maxCached {
		h.includes.Add(strings.Clone(text), p)
	}
	return p, err
}

// end joins the pieces (the first argument), and puts them into the layout (the
// second) if there is one, with the blocks (the third).
func (r *rendering) end(l *lua.LState, context lua.LValue) string {
	var b []byte
	for i, pieces := 1, l.CheckTable(1); i <= pieces.Len(); i++ {
		b = append(b, lua.LVAsString(pieces.RawGetInt(i))...)
		if len(b) > r.s.h.o.Output {
			l.RaiseError("a text of more than %d bytes", r.s.h.o.Output)
		}
	}
	layout, ok := l.Get(2).(lua.LString)
	if !ok {
		return string(b)
	}
	view, mt := value.Table(), value.Table()
	view.RawSetString("view", lua.LString(b))
	view.RawSetString("blocks", l.Get(3))
	mt.RawSetString("__index", context)
	view.Metatable = mt
	return r.include(l, string(layout), view)
}

// escape is the text of a value, escaped for HTML; with a second argument also
// for templates.
func (r *rendering) escape(l *lua.LState) int {
	text, ok := l.Get(1).(lua.LString)
	if !ok {
		return r.output(l)
	}
	entities := htmlEntities
	if lua.LVAsBool(l.Get(2)) {
		entities = codeEntities
	}
	l.Push(lua.LString(entities.Replace(string(text))))
	return 1
}

// output is the text of a value.
func (r *rendering) output(l *lua.LState) int {
	v := l.Get(1)
	for n := 0; v.Type() == lua.LTFunction; n++ {
		if n == maxIncluded {
			l.RaiseError("functions yield each other more than %d deep", maxIncluded)
		}
		l.Push(v)
		l.Call(0, 1)
		v = l.Get(-1)
		l.Pop(1)
	}
	l.Push(lua.LString(asText(l, v)))
	return 1
}

// echo adds values to the pieces, which are its first argument.
func (r *rendering) echo(l *lua.LState) int {
	pieces := l.CheckTable(1)
	for i := 2; i <= l.GetTop(); i++ {
		pieces.Append(lua.LString(l.ToStringMeta(l.Get(i)).String()))
	}
	return 0
}

// asText is the text of a value, "" for nil and null.
func asText(l *lua.LState, v lua.LValue) string {
	switch v := v.(type) {
	case *lua.LNilType:
		return ""
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return value.FormatNumber(float64(v))
	}
	if v == lua.LValue(value.Null) {
		return ""
	}
	return l.ToStringMeta(v).String()
}
