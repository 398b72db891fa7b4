package lua

import (
	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/template"
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
	text, err := s.h.templates.Run(s.l, t.p.protos[0], ld.env, context)
	if err != nil {
		return nil, s.plain(err)
	}
	return []byte(text), nil
}

// reserved are the names of a context that no body may take.
var reserved = [...]string{"_ctx", "_body", "_escape_xml", "_escape_json", "_multipart"}

// context is the decoded body, with the reserved names behind it.
func (s *state) context(in *Input) (*lua.LTable, error) {
	t, parts, err := lib.DecodeBody(s.l, in.Format, in.Body, in.ContentType, s.c.Query)
	if err != nil {
		return nil, err
	}
	more := s.l.CreateTable(0, 8)
	more.RawSetString("_ctx", s.ctx)
	if in.Body != nil {
		more.RawSetString("_body", lua.LString(in.Body))
	}
	more.RawSetString("_escape_xml", s.l.NewFunction(template.EscapeXML))
	more.RawSetString("_escape_json", s.l.NewFunction(s.escapeJSON))
	if parts != nil {
		more.RawSetString("_multipart", parts.Object(s.l))
	}
	for _, name := range reserved {
		if t.RawGetString(name) != lua.LNil {
			t.RawSetString(name, lua.LNil)
		}
	}
	mt := s.l.CreateTable(0, 1)
	mt.RawSetString("__index", more)
	t.Metatable = mt
	return t, nil
}

func (s *state) escapeJSON(l *lua.LState) int {
	b, err := s.encode(l.Get(1))
	if err != nil {
		return lib.Fail(l, err.Error())
	}
	l.Push(lua.LString(b))
	return 1
}
