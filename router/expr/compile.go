package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"
)

// maxDepth is how deep expressions may be nested.
const maxDepth = 100

// The errors of lua-resty-expr.
var (
	errMissing    = errors.New("missing argument rule")
	errShort      = errors.New("rule too short")
	errBrackets   = errors.New("rule should be wrapped inside brackets")
	errExpression = errors.New("invalid expression")
	errNot        = errors.New("bad 'not' expression")
	errAddress    = errors.New("invalid ip address")
)

// ops are the operators by name.
var ops = map[string]op{
	"==": opEqual, "~=": opUnequal,
	">": opGreater, ">=": opGreaterEqual, "<": opLess, "<=": opLessEqual,
	"~~": opRegex, "~*": opRegex,
	"in": opIn, "has": opHas, "ipmatch": opIP,
}

// Compile compiles an expression: a JSON array. resolve is called once for each
// mention of a variable and returns what reads it; nil stands for a variable
// that is never there. Errors have the text of lua-resty-expr.
func Compile[C any](text json.RawMessage, resolve func(name string) func(C) Value) (*Program[C], error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil && err != io.EOF {
		return nil, fmt.Errorf("expression is not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("expression is not JSON: text after its end")
	}
	if v == nil {
		return nil, errMissing
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errBrackets
	}
	if len(list) == 0 {
		return &Program[C]{}, nil
	}
	if _, ok := junction(list[0]); !ok && !nested(list[0]) {
		return nil, errBrackets
	}
	c := compiler[C]{resolve: resolve}
	r, err := c.rule(list, 0)
	if err != nil {
		return nil, err
	}
	return &Program[C]{rule: &r}, nil
}

type compiler[C any] struct {
	resolve func(name string) func(C) Value
}

// junction reads AND, OR and their negations, in any case.
func junction(v any) (op string, ok bool) {
	s, _ := v.(string)
	switch s = strings.ToUpper(s); s {
	case "AND", "OR", "!AND", "!OR":
		return s, true
	}
	return "", false
}

func nested(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

// rule compiles one element: a list of rules, a junction of them, or a condition.
func (c *compiler[C]) rule(v any, depth int) (rule[C], error) {
	if depth > maxDepth {
		return rule[C]{}, fmt.Errorf("expression is nested deeper than %d", maxDepth)
	}
	list, ok := v.([]any)
	switch {
	case !ok && !nested(v):
		return rule[C]{}, errExpression
	case len(list) == 0:
		return rule[C]{}, errShort
	}
	var r rule[C]
	if op, ok := junction(list[0]); ok {
		if len(list) < 3 {
			return r, errShort
		}
		r.any = strings.HasSuffix(op, "OR")
		r.negated = op[0] == '!'
		list = list[1:]
	} else if !nested(list[0]) {
		cond, err := c.cond(list)
		r.cond = cond
		return r, err
	}
	for _, e := range list {
		sub, err := c.rule(e, depth+1)
		if err != nil {
			return r, err
		}
		r.rules = append(r.rules, sub)
	}
	return r, nil
}

// cond compiles [variable, operator, value], with "!" before the operator for
// its negation; [variable, value] means equality with the value in lower case.
func (c *compiler[C]) cond(list []any) (*cond[C], error) {
	out := &cond[C]{}
	if len(list) == 4 {
		if list[1] != "!" {
			return nil, errNot
		}
		out.negated = true
		list = []any{list[0], list[2], list[3]}
	}
	name, ok := list[0].(string)
	if !ok || len(list) < 2 {
		return nil, errExpression
	}
	opName, ok := scalarText(list[1])
	if !ok {
		return nil, errExpression
	}
	opName = strings.ToLower(opName)
	var value any
	if len(list) > 2 {
		value = list[2]
	} else if ops[opName] == 0 {
		value, opName = opName, "=="
	}
	if out.op = ops[opName]; out.op == 0 {
		return nil, fmt.Errorf("invalid operator '%s'", opName)
	}
	if err := out.want.read(opName, value); err != nil {
		return nil, err
	}
	if out.get = c.resolve(name); out.get == nil {
		out.get = func(C) Value { return Value{} }
	}
	return out, nil
}

// scalarText is the text of a string or number, as Lua would print it.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		f, _ := strconv.ParseFloat(v.String(), 64)
		return numberText(f), true
	}
	return "", false
}

// read makes w the configured value v as the operator needs it.
func (w *want) read(opName string, v any) error {
	switch ops[opName] {
	case opRegex:
		return w.readRegex(v, opName == "~*")
	case opIn:
		w.readList(v)
		return nil
	case opIP:
		return w.readNets(v)
	}
	switch v := v.(type) {
	case nil:
		w.kind = None
	case bool:
		w.kind, w.str = Bool, strconv.FormatBool(v)
	case string:
		w.kind, w.str = String, v
		w.num, w.numeric = toNumber(v)
	case json.Number:
		w.kind, w.numeric = Number, true
		w.num, _ = strconv.ParseFloat(v.String(), 64)
	default:
		w.invalid = true
	}
	return nil
}

func (w *want) readRegex(v any, fold bool) error {
	text, ok := scalarText(v)
	if b, isBool := v.(bool); isBool {
		text, ok = strconv.FormatBool(b), true
	}
	if !ok {
		return errExpression
	}
	flags := "jo"
	if fold {
		flags = "joi"
	}
	var err error
	w.regex, err = CompileRegex(text, flags)
	return err
}

// readList reads the list of "in"; anything else contains nothing.
func (w *want) readList(v any) {
	list, _ := v.([]any)
	for _, e := range list {
		switch e := e.(type) {
		case string:
			w.strs = append(w.strs, e)
		case json.Number:
			f, _ := strconv.ParseFloat(e.String(), 64)
			w.nums = append(w.nums, f)
		case bool:
			w.bools = append(w.bools, strconv.FormatBool(e))
		}
	}
	if len(w.strs) >= manyStrings {
		w.set = make(map[string]struct{}, len(w.strs))
		for _, s := range w.strs {
			w.set[s] = struct{}{}
		}
	}
}

// readNets reads the addresses and networks of "ipmatch": one, or a list.
func (w *want) readNets(v any) error {
	list, ok := v.([]any)
	if !ok {
		if v == nil || v == "" {
			return errAddress
		}
		list = []any{v}
	}
	if len(list) == 0 {
		return errAddress
	}
	w.nets = new(bart.Lite)
	for _, e := range list {
		s, ok := scalarText(e)
		if !ok {
			return errAddress
		}
		p, err := parsePrefix(s)
		if err != nil {
			return err
		}
		w.nets.Insert(p)
	}
	return nil
}

// parsePrefix reads an address or a network; bits beyond the mask do not matter.
func parsePrefix(s string) (netip.Prefix, error) {
	host, mask, hasMask := strings.Cut(s, "/")
	a, ok := parseAddr(host)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%w: %s", errAddress, host)
	}
	if !hasMask {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, ok := toNumber(mask)
	if !ok || n != float64(int(n)) || n < 0 || int(n) > a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%w: %s", errAddress, s)
	}
	return netip.PrefixFrom(a, int(n)).Masked(), nil
}
