package template

import (
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// Engine runs templates. Safe for concurrent use.
type Engine struct {
	Limit   int                                                   // bytes of a text
	Compile func(source, name string) (*lua.FunctionProto, error) // for templates that are included
	Plain   func(error) error                                     // what the interpreter says, without its stack trace

	kept *lru.Cache[string, *lua.FunctionProto] // templates that others include
}

const (
	maxKept   = 256      // included templates that are kept compiled
	maxCached = 64 << 10 // bytes of the longest of them
)

// New readies an Engine.
func New(e Engine) *Engine {
	e.kept, _ = lru.New[string, *lua.FunctionProto](maxKept) // fails for sizes below 1 only
	return &e
}

// Run renders a template, compiled from what Lua made of it. Names in it are
// looked up in context, then in base.
func (e *Engine) Run(l *lua.LState, proto *lua.FunctionProto, base *lua.LTable, context lua.LValue) (string, error) {
	r := rendering{e: e, base: base}
	return r.run(l, proto, context)
}

var (
	xmlEntities  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")
	htmlEntities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "/", "&#47;")
	codeEntities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "/", "&#47;",
		"{", "&#123;", "}", "&#125;")
)

// EscapeXML is the function _escape_xml: it returns the text and, as string.gsub does, a count: of the quotes.
func EscapeXML(l *lua.LState) int {
	text := l.CheckString(1)
	l.Push(lua.LString(xmlEntities.Replace(text)))
	l.Push(lua.LNumber(strings.Count(text, `"`)))
	return 2
}

// rendering is the rendering of a template and of those that it includes.
type rendering struct {
	e    *Engine
	base *lua.LTable // globals
	deep int
}

// maxIncluded is how deep templates may include each other.
const maxIncluded = 50

// run renders a compiled template with a context.
func (r *rendering) run(l *lua.LState, proto *lua.FunctionProto, context lua.LValue) (string, error) {
	env, mt := l.CreateTable(0, 4), l.CreateTable(0, 2)
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
	f := l.NewFunctionFromProto(proto)
	f.Env = env
	l.Push(f)
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
	proto, err := r.e.included(text)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	out, err := r.run(l, proto, context)
	if err != nil {
		l.RaiseError("%s", r.e.Plain(err).Error())
	}
	r.deep--
	return out
}

// included compiles a template that another one includes, and keeps it.
func (e *Engine) included(text string) (*lua.FunctionProto, error) {
	if p, ok := e.kept.Get(text); ok {
		return p, nil
	}
	p, err := e.Compile(Lua(text), "template")
	if err == nil && len(text) <= maxCached {
		e.kept.Add(strings.Clone(text), p)
	}
	return p, err
}

// end joins the pieces (the first argument), and puts them into the layout (the
// second) if there is one, with the blocks (the third).
func (r *rendering) end(l *lua.LState, context lua.LValue) string {
	var b []byte
	for i, pieces := 1, l.CheckTable(1); i <= pieces.Len(); i++ {
		b = append(b, lua.LVAsString(pieces.RawGetInt(i))...)
		if len(b) > r.e.Limit {
			l.RaiseError("a text of more than %d bytes", r.e.Limit)
		}
	}
	layout, ok := l.Get(2).(lua.LString)
	if !ok {
		return string(b)
	}
	view, mt := l.CreateTable(0, 2), l.CreateTable(0, 1)
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
