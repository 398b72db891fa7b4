package inspect

import (
	"errors"
	"fmt"
	"strings"

	"sluice/configcenter/schema"
)

// Decode is schema.Decode for what people send: control characters may stand
// in strings as they are, and faults are told in the words of lua-cjson.
func Decode(raw []byte) (any, error) {
	v, err := schema.Decode(raw)
	if err == nil {
		return v, nil
	}
	if escaped, changed := escapeControls(raw); changed {
		if v, err = schema.Decode(escaped); err == nil {
			return v, nil
		}
	}
	return nil, errors.New(fault(raw, err))
}

// escapeControls writes the control characters within strings as escapes.
func escapeControls(raw []byte) (out []byte, changed bool) {
	inside := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '"':
			inside = !inside
		case c == '\\' && inside && i+1 < len(raw):
			out = append(out, c)
			i++
			c = raw[i]
		case c < ' ' && inside:
			out = fmt.Appendf(out, "\\u%04x", c)
			changed = true
			continue
		}
		out = append(out, c)
	}
	return out, changed
}

// fault says what is wrong with raw in lua-cjson's words; err is what our
// parser said, used when cjson would have accepted the text (duplicate names).
func fault(raw []byte, err error) string {
	s := &cjson{text: string(raw)}
	s.value(0)
	if s.fault == "" {
		if tok := s.next(); tok != "T_END" {
			s.expect("the end", tok)
		}
	}
	if s.fault == "" {
		return err.Error()
	}
	return s.fault
}

// cjson walks a text as lua-cjson does, to find its first fault.
type cjson struct {
	text  string
	pos   int // behind the last token
	start int // of the last token
	fault string
}

// maxDepth is how deep lua-cjson goes.
const maxDepth = 1000

func (c *cjson) expect(what, found string) {
	if c.fault == "" {
		c.fault = fmt.Sprintf("Expected %s but found %s at character %d", what, found, c.start+1)
	}
}

// next returns the name of the next token, or what is wrong with it.
func (c *cjson) next() string {
	for c.pos < len(c.text) && strings.IndexByte(" \t\r\n", c.text[c.pos]) >= 0 {
		c.pos++
	}
	c.start = c.pos
	if c.pos == len(c.text) {
		return "T_END"
	}
	if i := strings.IndexByte("{}[]:,", c.text[c.pos]); i >= 0 {
		c.pos++
		return [...]string{"T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END", "T_COLON", "T_COMMA"}[i]
	}
	rest := c.text[c.pos:]
	switch {
	case rest[0] == '"':
		return c.str()
	case rest[0] == '-' || rest[0] >= '0' && rest[0] <= '9':
		n := 1
		for n < len(rest) && strings.IndexByte("0123456789+-.eE", rest[n]) >= 0 {
			n++
		}
		c.pos += n
		return "T_NUMBER"
	}
	for _, w := range [...]struct{ text, token string }{{"true", "T_BOOLEAN"}, {"false", "T_BOOLEAN"}, {"null", "T_NULL"}} {
		if strings.HasPrefix(rest, w.text) {
			c.pos += len(w.text)
			return w.token
		}
	}
	return "invalid token"
}

func (c *cjson) str() string {
	for i := c.pos + 1; i < len(c.text); i++ {
		switch c.text[i] {
		case '\\':
			i++
		case '"':
			c.pos = i + 1
			return "T_STRING"
		}
	}
	c.start = len(c.text)
	return "unexpected end of string"
}

func (c *cjson) value(depth int) {
	tok := c.next()
	if depth > maxDepth {
		c.fault = fmt.Sprintf("Found too many nested data structures (%d) at character %d", depth, c.start+1)
		return
	}
	switch tok {
	case "T_STRING", "T_NUMBER", "T_BOOLEAN", "T_NULL":
	case "T_OBJ_BEGIN":
		c.members(depth)
	case "T_ARR_BEGIN":
		c.items(depth)
	default:
		c.expect("value", tok)
	}
}

func (c *cjson) members(depth int) {
	for first := true; ; first = false {
		tok := c.next()
		if first && tok == "T_OBJ_END" {
			return
		}
		if tok != "T_STRING" {
			c.expect("object key string", tok)
			return
		}
		if tok = c.next(); tok != "T_COLON" {
			c.expect("colon", tok)
			return
		}
		if c.value(depth + 1); c.fault != "" {
			return
		}
		if tok = c.next(); tok == "T_OBJ_END" {
			return
		}
		if tok != "T_COMMA" {
			c.expect("comma or object end", tok)
			return
		}
	}
}

func (c *cjson) items(depth int) {
	back := c.pos
	if c.next() == "T_ARR_END" {
		return
	}
	c.pos = back
	for {
		if c.value(depth + 1); c.fault != "" {
			return
		}
		tok := c.next()
		if tok == "T_ARR_END" {
			return
		}
		if tok != "T_COMMA" {
			c.expect("comma or array end", tok)
			return
		}
	}
}
