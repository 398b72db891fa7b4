package plugins

import (
	"encoding/json"
	"fmt"
	"strings"

	"sluice/router/expr"
)

// ExprValue is Variable for expressions, which tell numbers, booleans and lists
// from text: values of a JSON body, the root fields of GraphQL, arguments
// without a value.
func ExprValue(name string) func(*Ctx) expr.Value {
	typed := typedValue(name)
	return func(c *Ctx) expr.Value {
		if len(c.vars) != 0 {
			if v, ok := c.vars[name]; ok {
				return expr.Text(v)
			}
		}
		return typed(c)
	}
}

func typedValue(name string) func(*Ctx) expr.Value {
	if path, ok := strings.CutPrefix(name, postArgPath); ok {
		p, err := parseBodyPath(path)
		if err != nil {
			return func(*Ctx) expr.Value { return expr.Value{} }
		}
		return func(c *Ctx) expr.Value { return dataValue(p.find(c)) }
	}
	if name == "graphql_root_fields" {
		return func(c *Ctx) expr.Value {
			g := c.operation()
			if !g.found {
				return expr.Value{}
			}
			return expr.Value{Kind: expr.List, List: g.fields}
		}
	}
	if arg, ok := strings.CutPrefix(name, "arg_"); ok {
		return func(c *Ctx) expr.Value { return formExprValue(c.Query, arg) }
	}
	s := resolve(name)
	return func(c *Ctx) expr.Value {
		v, ok := s.value(c)
		if !ok {
			return expr.Value{}
		}
		return expr.Text(v)
	}
}

// formExprValue is true, not "true", for an argument without a value.
func formExprValue(q, name string) expr.Value {
	v, found, flag := formLookup(q, name)
	switch {
	case !found:
		return expr.Value{}
	case flag:
		return expr.Value{Kind: expr.Bool, Str: v}
	}
	return expr.Text(v)
}

// dataValue keeps the kinds of JSON. Of a list only the strings can be asked
// for; an object has nothing that an expression could compare.
func dataValue(v any) expr.Value {
	switch v := v.(type) {
	case nil:
		return expr.Value{}
	case string:
		return expr.Text(v)
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := e.(string); ok {
				list = append(list, s)
			}
		}
		return expr.Value{Kind: expr.List, List: list}
	case map[string]any:
		return expr.Value{Kind: expr.List}
	}
	s, _ := dataText(v)
	if _, ok := v.(json.Number); ok {
		return expr.Value{Kind: expr.Number, Str: s}
	}
	return expr.Value{Kind: expr.Bool, Str: s}
}

// Filter compiles _meta.filter.
func Filter(rule json.RawMessage) (func(*Ctx) bool, error) {
	f, err := expr.Compile(rule, ExprValue)
	if err != nil {
		return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
	}
	return f.Eval, nil
}

// CheckVars checks an expression over variables, the names in it included.
func CheckVars(rule []byte) error {
	var bad error
	_, err := expr.Compile(rule, func(name string) func(*Ctx) expr.Value {
		if err := CheckVariable(name); err != nil && bad == nil {
			bad = err
		}
		return ExprValue(name)
	})
	if err != nil {
		return err
	}
	return bad
}
