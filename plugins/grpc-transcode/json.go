package grpctranscode

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/gateway/lua/value"
)

// options say how a message is written.
type options struct {
	enumAsValue bool
	int64s      string // int64_as_…
	defaults    string // …_default_…
}

// newOptions reads the names of a pb_option.
func newOptions(names []string) options {
	o := options{int64s: "int64_as_number", defaults: "auto_default_values"}
	for _, name := range slices.Sorted(slices.Values(names)) {
		switch {
		case strings.HasPrefix(name, "enum_as_"):
			o.enumAsValue = name == "enum_as_value"
		case strings.HasPrefix(name, "int64_as_"):
			o.int64s = name
		case strings.Contains(name, "_default_"):
			o.defaults = name
		}
	}
	return o
}

// printer writes messages as JSON: field by field in the order of declaration,
// under the names of the .proto file.
type printer struct {
	options
	b []byte
}

var errNumber = errors.New("Cannot serialise number: must not be NaN or Infinity")

func (p *printer) message(m protoreflect.Message) error {
	d := m.Descriptor()
	scalars, lists := p.fillsIn(d)
	p.b = append(p.b, '{')
	start := len(p.b)
	fields := d.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			composite := fd.IsList() || fd.IsMap()
			if composite && !lists || !composite && (!scalars || fd.ContainingOneof() != nil || fd.Message() != nil) {
				continue
			}
		}
		if len(p.b) > start {
			p.b = append(p.b, ',')
		}
		p.text(string(fd.Name()))
		p.b = append(p.b, ':')
		if err := p.field(fd, m.Get(fd)); err != nil {
			return err
		}
	}
	p.b = append(p.b, '}')
	return nil
}

// fillsIn says which of the fields that a message lacks are written with their defaults.
func (p *printer) fillsIn(d protoreflect.MessageDescriptor) (scalars, lists bool) {
	switch p.defaults {
	case "use_default_values":
		return true, true
	case "use_default_metatable":
		return false, true
	case "auto_default_values":
		proto3 := d.ParentFile().Syntax() == protoreflect.Proto3
		return proto3, proto3
	}
	return false, false
}

func (p *printer) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case fd.IsMap():
		return p.entries(fd.MapValue(), v.Map())
	case fd.IsList():
		p.b = append(p.b, '[')
		for i := range v.List().Len() {
			if i > 0 {
				p.b = append(p.b, ',')
			}
			if err := p.value(fd, v.List().Get(i)); err != nil {
				return err
			}
		}
		p.b = append(p.b, ']')
		return nil
	}
	return p.value(fd, v)
}

// entries writes a map, in the order of its keys' texts.
func (p *printer) entries(fd protoreflect.FieldDescriptor, m protoreflect.Map) error {
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	p.b = append(p.b, '{')
	for i, k := range keys {
		if i > 0 {
			p.b = append(p.b, ',')
		}
		p.text(k.String())
		p.b = append(p.b, ':')
		if err := p.value(fd, m.Get(k)); err != nil {
			return err
		}
	}
	p.b = append(p.b, '}')
	return nil
}

func (p *printer) value(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return p.message(v.Message())
	case protoreflect.StringKind:
		p.text(v.String())
	case protoreflect.BytesKind:
		p.text(string(v.Bytes()))
	case protoreflect.BoolKind:
		p.b = strconv.AppendBool(p.b, v.Bool())
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil && !p.enumAsValue {
			p.text(string(e.Name()))
			return nil
		}
		p.integer(int64(v.Enum()))
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		f := v.Float()
		if math.IsInf(f, 0) || math.IsNaN(f) {
			return errNumber
		}
		p.b = append(p.b, value.FormatNumber(f)...)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if n := v.Uint(); n <= math.MaxUint32 {
			p.b = strconv.AppendUint(p.b, n, 10)
		} else {
			p.wide(n, false)
		}
	default:
		p.integer(v.Int())
	}
	return nil
}

func (p *printer) integer(n int64) {
	switch {
	case n >= math.MinInt32 && n <= math.MaxInt32:
		p.b = strconv.AppendInt(p.b, n, 10)
	case n < 0:
		p.wide(-uint64(n), true)
	default:
		p.wide(uint64(n), false)
	}
}

// wide writes an integer of more than 32 bits, of which n is the magnitude.
func (p *printer) wide(n uint64, negative bool) {
	sign := ""
	if negative {
		sign = "-"
	}
	switch p.int64s {
	case "int64_as_string":
		p.b = append(append(p.b, `"#`...), sign...)
		p.b = append(strconv.AppendUint(p.b, n, 10), '"')
	case "int64_as_hexstring":
		p.b = append(append(append(p.b, `"#`...), sign...), "0x"...)
		p.b = append(append(p.b, strings.ToUpper(strconv.FormatUint(n, 16))...), '"')
	default:
		p.b = append(append(p.b, sign...), value.FormatNumber(float64(n))...)
	}
}

func (p *printer) text(s string) { p.b = value.AppendString(p.b, s) }
