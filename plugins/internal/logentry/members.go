package logentry

import (
	"strings"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// headers writes fields by their names in lower case; a repeated one is a list.
func headers(o *object, h *wire.Header, host string) {
	o.open()
	if host != "" {
		o.text("host", host)
	}
	for i := range h.Len() {
		f := h.At(i)
		if earlier(h, i) || host != "" && wire.EqualFold(f.Name, "host") {
			continue
		}
		o.comma()
		o.b = append(appendLower(o.b, f.Name), ':')
		many := false
		for j := i + 1; j < h.Len() && !many; j++ {
			many = wire.EqualFold(h.At(j).Name, f.Name)
		}
		if !many {
			o.b = AppendString(o.b, f.Value)
			continue
		}
		o.b = append(o.b, '[')
		for j := i; j < h.Len(); j++ {
			if g := h.At(j); wire.EqualFold(g.Name, f.Name) {
				if j > i {
					o.b = append(o.b, ',')
				}
				o.b = AppendString(o.b, g.Value)
			}
		}
		o.b = append(o.b, ']')
	}
	o.close()
}

// earlier says whether the i-th field's name was there before.
func earlier(h *wire.Header, i int) bool {
	for j := range i {
		if wire.EqualFold(h.At(j).Name, h.At(i).Name) {
			return true
		}
	}
	return false
}

func appendLower(dst []byte, name string) []byte {
	n := len(dst)
	dst = AppendString(dst, name)
	for i := n; i < len(dst); i++ {
		if 'A' <= dst[i] && dst[i] <= 'Z' {
			dst[i] |= 0x20
		}
	}
	return dst
}

// maxArgs is how many arguments of a query are looked at, as in APISIX.
const maxArgs = 100

// query writes the arguments, decoded: a text, true for one without "=", a
// list for a repeated one.
func query(o *object, raw string) {
	o.open()
	if raw != "" {
		arguments(o, raw)
	}
	o.close()
}

func arguments(o *object, raw string) {
	type argument struct {
		name   string
		values []string // as JSON
	}
	var list []argument
	for n := 0; raw != "" && n < maxArgs; n++ {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, has := strings.Cut(pair, "=")
		if name = plugins.Unescape(name); name == "" {
			continue
		}
		text := "true"
		if has {
			text = string(AppendString(nil, plugins.Unescape(value)))
		}
		i := 0
		for i < len(list) && list[i].name != name {
			i++
		}
		if i == len(list) {
			list = append(list, argument{name: name})
		}
		list[i].values = append(list[i].values, text)
	}
	for _, a := range list {
		o.comma()
		o.b = append(AppendString(o.b, a.name), ':')
		if len(a.values) == 1 {
			o.b = append(o.b, a.values[0]...)
			continue
		}
		o.b = append(append(append(o.b, '['), strings.Join(a.values, ",")...), ']')
	}
}
