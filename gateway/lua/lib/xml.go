package lib

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// maxElements is how deep elements may lie in each other.
const maxElements = 1000

// element is an element of XML.
type element struct {
	name     string
	attrs    []xml.Attr
	texts    []string
	children []*children
	byName   map[string]*children
}

// children are those of one name, namespace prefix included.
type children struct {
	name string
	all  []*element
}

// DecodeXML makes a table of XML: elements under their names without prefixes,
// those of one name as an array, attributes under _attr; an element of nothing
// but text is that text. Entities of a DTD are not expanded.
func DecodeXML(b []byte) (*lua.LTable, error) {
	root, err := parseXML(b)
	if err != nil {
		return nil, err
	}
	return root.table(), nil
}

func parseXML(b []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	d.Strict = false // unknown entities stay as they are
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	stack := []*element{{}}
	fault := func(what string, at int64) error { return fmt.Errorf("%s [char=%d]", what, at+1) }
	for {
		at := d.InputOffset()
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			if len(stack) > 1 {
				return nil, fault("Incomplete XML Document", at)
			}
			return stack[0], nil
		}
		if err != nil {
			return nil, fault("Error Parsing XML", at)
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			if len(stack) > maxElements {
				return nil, fault("Too many nested elements", at)
			}
			stack = append(stack, top.add(tok))
		case xml.EndElement:
			if name := fullName(tok.Name); len(stack) == 1 || top.name != name {
				return nil, fault("Unbalanced Tag (/"+name+")", at)
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			text := string(tok)
			if !bytes.HasPrefix(b[at:], []byte("<![CDATA[")) {
				if text = strings.TrimSpace(text); text == "" {
					continue
				}
			}
			if len(stack) == 1 {
				return nil, fault("Error Parsing XML", at)
			}
			top.texts = append(top.texts, text)
		}
	}
}

func fullName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// add makes a child.
func (e *element) add(tok xml.StartElement) *element {
	child := &element{name: fullName(tok.Name), attrs: tok.Copy().Attr}
	c := e.byName[child.name]
	if c == nil {
		c = &children{name: child.name}
		if e.byName == nil {
			e.byName = map[string]*children{}
		}
		e.byName[child.name] = c
		e.children = append(e.children, c)
	}
	c.all = append(c.all, child)
	return child
}

func (e *element) value() lua.LValue {
	switch {
	case len(e.texts) == 1 && len(e.attrs) == 0:
		return lua.LString(e.texts[0])
	case len(e.texts)+len(e.children)+len(e.attrs) == 0:
		return lua.LString("")
	}
	return e.table()
}

func (e *element) table() *lua.LTable {
	t := value.Table()
	for _, text := range e.texts {
		t.Append(lua.LString(text))
	}
	if len(e.attrs) > 0 {
		attrs := value.Table()
		for _, a := range e.attrs {
			attrs.RawSetString(bare(a.Name.Local), lua.LString(a.Value))
		}
		t.RawSetString("_attr", attrs)
	}
	for _, c := range e.children {
		v := c.all[0].value()
		if len(c.all) > 1 {
			list := value.Table()
			for _, child := range c.all {
				list.Append(child.value())
			}
			v = list
		}
		t.RawSetString(bare(c.name), v)
	}
	return t
}

// bare is a name without its prefix.
func bare(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }
