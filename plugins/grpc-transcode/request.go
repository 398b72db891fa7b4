package grpctranscode

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/plugins"
)

// source is the data of a request.
type source struct {
	fields map[string]any
	// args says that they come from a query or a form, where one value cannot be
	// told from a list of one.
	args bool
}

// read is the data of the request: its body as JSON, or as a form, or its query.
func read(c *plugins.Ctx) (source, error) {
	method := c.Req.Method
	if method != "POST" && method != "PUT" && method != "PATCH" {
		return arguments(c.Query), nil
	}
	body, err := c.Body(maxBody)
	if err != nil {
		return source{}, err
	}
	if strings.Contains(c.Req.Header.Get("Content-Type"), "application/json") {
		var fields map[string]any
		if plugins.Decode(body, &fields) == nil && fields != nil {
			return source{fields: fields}, nil
		}
	}
	if method == "POST" {
		return arguments(string(body)), nil
	}
	return arguments(c.Query), nil
}

// maxArgs is how many arguments are read, as nginx does.
const maxArgs = 100

// arguments reads a query: a name that comes again has a list, one without "=" is true.
func arguments(query string) source {
	fields := map[string]any{}
	for n := 0; query != "" && n < maxArgs; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		n++
		name, text, has := strings.Cut(pair, "=")
		value := any(true)
		if has {
			value = plugins.Unescape(text)
		}
		name = plugins.Unescape(name)
		switch old := fields[name].(type) {
		case nil:
			fields[name] = value
		case []any:
			fields[name] = append(old, value)
		default:
			fields[name] = []any{old, value}
		}
	}
	return source{fields, true}
}

// fill sets the fields of m that from has; what m does not know is left out.
func fill(m protoreflect.Message, from source) error {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		v := from.fields[string(fd.Name())]
		if v == nil {
			continue
		}
		var err error
		switch {
		case fd.IsMap():
			err = fillMap(m.Mutable(fd).Map(), fd, v)
		case fd.IsList():
			err = fillList(m.Mutable(fd).List(), fd, v, from.args)
		default:
			var x protoreflect.Value
			if x, err = convert(fd, v, func() protoreflect.Value { return m.NewField(fd) }); err == nil {
				m.Set(fd, x)
			}
		}
		if err != nil {
			return fmt.Errorf("field '%s': %w", fd.Name(), err)
		}
	}
	return nil
}

func fillList(to protoreflect.List, fd protoreflect.FieldDescriptor, v any, args bool) error {
	all, ok := v.([]any)
	if !ok {
		if !args {
			return expected("table", v)
		}
		all = []any{v}
	}
	for _, item := range all {
		x, err := convert(fd, item, to.NewElement)
		if err != nil {
			return err
		}
		to.Append(x)
	}
	return nil
}

func fillMap(to protoreflect.Map, fd protoreflect.FieldDescriptor, v any) error {
	all, ok := v.(map[string]any)
	if !ok {
		return expected("table", v)
	}
	for name, item := range all {
		if item == nil {
			continue
		}
		key, err := mapKey(fd.MapKey(), name)
		if err != nil {
			return err
		}
		x, err := convert(fd.MapValue(), item, to.NewValue)
		if err != nil {
			return err
		}
		to.Set(key, x)
	}
	return nil
}

func mapKey(fd protoreflect.FieldDescriptor, name string) (protoreflect.MapKey, error) {
	if fd.Kind() == protoreflect.StringKind {
		return protoreflect.ValueOfString(name).MapKey(), nil
	}
	x, err := convert(fd, name, nil)
	if err != nil {
		return protoreflect.MapKey{}, err
	}
	return x.MapKey(), nil
}

// convert is v as one value of the field's type; empty makes a message to be filled.
func convert(fd protoreflect.FieldDescriptor, v any, empty func() protoreflect.Value) (protoreflect.Value, error) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		fields, ok := v.(map[string]any)
		if !ok {
			return protoreflect.Value{}, expected("table", v)
		}
		x := empty()
		return x, fill(x.Message(), source{fields: fields})
	case protoreflect.StringKind:
		s, ok := v.(string)
		if !ok {
			return protoreflect.Value{}, expected("string", v)
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.BytesKind:
		s, ok := v.(string)
		if !ok {
			return protoreflect.Value{}, expected("string", v)
		}
		return protoreflect.ValueOfBytes([]byte(s)), nil
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(v != false && v != "false"), nil
	case protoreflect.EnumKind:
		return enum(fd.Enum(), v)
	}
	return number(fd.Kind(), v)
}

// enum is a value by its name or its number.
func enum(d protoreflect.EnumDescriptor, v any) (protoreflect.Value, error) {
	if s, ok := v.(string); ok {
		if e := d.Values().ByName(protoreflect.Name(s)); e != nil {
			return protoreflect.ValueOfEnum(e.Number()), nil
		}
		if _, err := strconv.ParseInt(s, 10, 32); err != nil {
			return protoreflect.Value{}, fmt.Errorf("can not encode unknown enum '%s'", s)
		}
	}
	n, err := integer(v)
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), err
}

func number(kind protoreflect.Kind, v any) (protoreflect.Value, error) {
	switch kind {
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		text, ok := numeral(v)
		f, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil && !errors.Is(err, strconv.ErrRange) {
			return protoreflect.Value{}, expected("number", v)
		}
		if kind == protoreflect.FloatKind {
			return protoreflect.ValueOfFloat32(float32(f)), nil
		}
		return protoreflect.ValueOfFloat64(f), nil
	}
	n, err := integer(v)
	if err != nil {
		return protoreflect.Value{}, err
	}
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n)), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n), nil
	}
	return protoreflect.ValueOfInt64(int64(n)), nil
}

// numeral is the text of a number.
func numeral(v any) (string, bool) {
	switch v := v.(type) {
	case json.Number:
		return v.String(), true
	case string:
		return strings.TrimSpace(v), true
	}
	return "", false
}

// integer reads a number, or a text as the answers have it: "#-12", "0xff".
// Digits behind the point are cut off.
func integer(v any) (uint64, error) {
	text, ok := numeral(v)
	digits, negative := text, false
	for digits != "" && strings.IndexByte("#+-", digits[0]) >= 0 {
		negative = negative != (digits[0] == '-')
		digits = digits[1:]
	}
	if !ok || digits == "" || strings.HasPrefix(text, "+") {
		return 0, expected("number/'#number'", v)
	}
	base := 10
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		base, digits = 16, digits[2:]
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		f, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil || math.IsNaN(f):
			return 0, expected("number/'#number'", v)
		case f < math.MinInt64 || f >= math.MaxInt64: // as a float, the latter is one more than it says
			return 0, errors.New("number has no integer representation")
		}
		return uint64(int64(f)), nil
	}
	if negative {
		n = -n
	}
	return n, nil
}

// expected says that v is of the wrong type, in Lua's words.
func expected(want string, v any) error {
	got := "table"
	switch v.(type) {
	case nil:
		got = "nil"
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case json.Number:
		got = "number"
	}
	return fmt.Errorf("%s expected, got %s", want, got)
}
