package bodytransformer

import (
	"encoding/base64"
	"errors"
	"strings"

	"sluice/gateway/lua"
	"sluice/plugins"
)

// templates are the template of a request or a response: as it is written, and
// as it is when it is read as base64. Which one counts depends on the format.
type templates struct {
	which      string // "request" or "response"
	configured string // input format; "" for that of the content type
	always     bool   // base64 whatever the format
	plain      compiled
	decoded    *compiled // nil: it cannot be read as base64
}

type compiled struct {
	template *lua.Template
	err      error // told to each request, as the template may never be used
}

func compile(host *lua.Host, which string, c *transform) *templates {
	t := &templates{which: which, configured: c.InputFormat, always: c.TemplateIsBase64}
	t.plain.template, t.plain.err = host.Template(c.Template)
	if text, ok := fromBase64(c.Template); ok {
		t.decoded = new(compiled)
		t.decoded.template, t.decoded.err = host.Template(text)
	}
	return t
}

func (t *templates) close() {
	if t == nil {
		return
	}
	for _, c := range [...]*compiled{&t.plain, t.decoded} {
		if c != nil && c.template != nil {
			c.template.Close()
		}
	}
}

// fromBase64 decodes s as nginx does: the padding may be missing, and what
// follows it does not count.
func fromBase64(s string) (string, bool) {
	s, _, _ = strings.Cut(s, "=")
	if strings.ContainsAny(s, "\r\n") {
		return "", false
	}
	b, err := base64.RawStdEncoding.DecodeString(s)
	return string(b), err == nil
}

// format is the one to read a body of that content type as; "" for none.
func (t *templates) format(contentType string) string {
	switch {
	case t.configured != "":
		return t.configured
	case strings.Contains(contentType, "text/xml"):
		return "xml"
	case strings.Contains(contentType, "application/json"):
		return "json"
	}
	switch lower := strings.ToLower(contentType); {
	case strings.Contains(lower, "application/x-www-form-urlencoded"):
		return "encoded"
	case strings.Contains(lower, "multipart/"):
		return "multipart"
	}
	return ""
}

func (t *templates) render(c *plugins.Ctx, phase string, in lua.Input) ([]byte, *fault) {
	use := &t.plain
	if t.decoded != nil && (t.always || in.Format != "" && in.Format != "encoded" && in.Format != "args") {
		use = t.decoded
	}
	if use.err != nil {
		return nil, newFault(503, t.which, "template compile", use.err)
	}
	if in.Format == "" && in.Body != nil {
		c.Log().Warn("no input format to parse " + t.which + " body")
	}
	out, err := use.template.Render(c, phase, in)
	var bad *lua.DecodeError
	switch {
	case errors.As(err, &bad):
		return nil, newFault(400, t.which, "body decode", err)
	case err != nil:
		return nil, newFault(503, t.which, "template rendering", err)
	}
	return out, nil
}
