package schema

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is why a document was refused; its text is APISIX's.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

// noMatch is the error of a trial whose text nobody will read.
var noMatch = &Error{"no match"}

// walker goes through one document. In a trial, and when all is to be taken
// back in the end, it remembers what it changed.
type walker struct {
	undo   []change
	borrow bool // the document is to be given back as it was
	quiet  int  // in a trial: errors need no text

	// filling: the library has settled the document as it came. Only where
	// defaults were filled in is judged again what could see them.
	filling bool
	filled  int // defaults filled in so far
}

// change is what was at a member of an object or at a place of an array.
type change struct {
	m   map[string]any
	key string
	had bool
	a   []any
	i   int
	old any
}

func (w *walker) set(m map[string]any, key string, v any) {
	if w.borrow || w.quiet > 0 {
		old, had := m[key]
		w.undo = append(w.undo, change{m: m, key: key, had: had, old: old})
	}
	m[key] = v
}

func (w *walker) setItem(a []any, i int, v any) {
	if w.borrow || w.quiet > 0 {
		w.undo = append(w.undo, change{a: a, i: i, old: a[i]})
	}
	a[i] = v
}

// rollback takes back every change after the first n.
func (w *walker) rollback(n int) {
	for i := len(w.undo) - 1; i >= n; i-- {
		switch c := w.undo[i]; {
		case c.m == nil:
			c.a[c.i] = c.old
		case c.had:
			c.m[c.key] = c.old
		default:
			delete(c.m, c.key)
		}
	}
	w.undo = w.undo[:n]
}

// try reports whether v matches; if not, nothing was changed.
func (w *walker) try(n *node, v any) bool {
	mark := len(w.undo)
	w.quiet++
	err := w.walk(n, v)
	w.quiet--
	if err != nil {
		w.rollback(mark)
	}
	return err == nil
}

// fail makes an error of the parts.
func (w *walker) fail(parts ...string) error {
	if w.quiet > 0 {
		return noMatch
	}
	return &Error{strings.Join(parts, "")}
}

// coerce gives an empty array where only an object can be meant, and the
// reverse: the two are one thing to APISIX. An integer written as 1.0 or 1e3
// becomes plain, so that Go's integers can take it.
func (n *node) coerce(v any) (any, bool) {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 && (n.types == typeObject || n.types == 0 && n.object && !n.array) {
			return map[string]any{}, true
		}
	case map[string]any:
		if len(v) == 0 && (n.types == typeArray || n.types == 0 && n.array && !n.object) {
			return []any{}, true
		}
	case json.Number:
		if n.types&typeInteger != 0 && strings.ContainsAny(string(v), ".eE") {
			if f, ok := number(v); ok && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
				return json.Number(strconv.FormatInt(int64(f), 10)), true
			}
		}
	}
	return nil, false
}

func (n *node) allows(v any) bool {
	if n.types == 0 {
		return true
	}
	switch v := v.(type) {
	case nil:
		return n.types&typeNull != 0
	case string:
		return n.types&typeString != 0
	case bool:
		return n.types&typeBoolean != 0
	case map[string]any:
		return n.types&typeObject != 0 || len(v) == 0 && n.types&typeArray != 0
	case []any:
		return n.types&typeArray != 0 || len(v) == 0 && n.types&typeObject != 0
	}
	return n.types&typeNumber != 0 || n.types&typeInteger != 0 && isInteger(v)
}

func isInteger(v any) bool {
	if s, ok := v.(json.Number); ok && !strings.ContainsAny(string(s), ".eE") {
		return true
	}
	f, ok := number(v)
	return ok && f == math.Trunc(f)
}

// fill fills in the defaults of a value that the library accepted without
// them. Conditions that see one of them are judged again.
func (w *walker) fill(n *node, v any) error {
	before := w.filled
	if err := w.table(n, v); err != nil {
		return err
	}
	if w.filled == before && !n.choiceFills {
		return nil
	}
	w.filling = false
	defer func() { w.filling = true }()
	if n.unique {
		if a, ok := v.([]any); ok {
			if err := w.distinct(a); err != nil {
				return err
			}
		}
	}
	return w.conditions(n, v)
}

// walk judges v, filling in defaults as it goes.
func (w *walker) walk(n *node, v any) error {
	if w.filling {
		if !n.fills {
			return nil
		}
		return w.fill(n, v)
	}
	if n.always {
		return nil
	}
	if n.never {
		return w.fail("expect false always")
	}
	s, isString := v.(string)
	if isString && n.refs && isRef(s) {
		return nil
	}
	if !n.allows(v) {
		return w.fail(n.wrongType, luaType(v))
	}
	if n.object || n.array {
		if err := w.table(n, v); err != nil {
			return err
		}
	}
	if isString {
		if err := w.text(n, s); err != nil {
			return err
		}
	} else if len(n.bounds) > 0 {
		if f, ok := number(v); ok {
			for _, b := range n.bounds {
				if !b.ok(f) {
					return w.fail("expected ", luaNumber(f), b.text)
				}
			}
		}
	}
	return w.conditions(n, v)
}

// conditions applies the keywords that look at the value as a whole.
func (w *walker) conditions(n *node, v any) error {
	if n.enum != nil && !slices.ContainsFunc(n.enum, func(e any) bool { return equal(e, v) }) {
		return w.fail("matches none of the enum values")
	}
	if err := w.choices(n, v); err != nil {
		return err
	}
	return w.rest(n, v)
}

// table applies the keywords about objects and arrays. What is empty is both.
func (w *walker) table(n *node, v any) error {
	m, isMap := v.(map[string]any)
	a, isArray := v.([]any)
	if n.object {
		if isMap || isArray && len(a) == 0 {
			if err := w.object(n, m); err != nil {
				return err
			}
		}
		if n.emptyRequired && (len(m) > 0 || len(a) > 0 || !isMap && !isArray) {
			return w.fail("the input data should be an empty table")
		}
	}
	if n.array && (isArray || isMap && len(m) == 0) {
		return w.array(n, a)
	}
	return nil
}

func (w *walker) text(n *node, s string) error {
	if n.minLength >= 0 || n.maxLength >= 0 {
		c := utf8.RuneCountInString(s)
		if c < n.minLength {
			return w.fail("string too short, expected at least ", strconv.Itoa(n.minLength), ", got ", strconv.Itoa(c))
		}
		if n.maxLength >= 0 && c > n.maxLength {
			return w.fail("string too long, expected at most ", strconv.Itoa(n.maxLength), ", got ", strconv.Itoa(c))
		}
	}
	if n.pattern != nil && !n.pattern(s) {
		if w.quiet > 0 {
			return noMatch
		}
		return w.fail("failed to match pattern ", n.patternText, " with ", luaQuote(s))
	}
	return nil
}

// choices applies allOf, anyOf, oneOf, if and not.
func (w *walker) choices(n *node, v any) error {
	for i, sub := range n.allOf {
		if err := w.walk(sub, v); err != nil {
			return w.fail("allOf ", strconv.Itoa(i+1), " failed: ", err.Error())
		}
	}
	if n.anyOf != nil && !slices.ContainsFunc(n.anyOf, func(sub *node) bool { return w.try(sub, v) }) {
		return w.fail(n.anyOfText)
	}
	if n.oneOf != nil {
		matched := 0
		for i, sub := range n.oneOf {
			if !w.try(sub, v) {
				continue
			}
			if matched > 0 {
				return w.fail("value should match only one schema, but matches both schemas ",
					strconv.Itoa(matched), " and ", strconv.Itoa(i+1))
			}
			matched = i + 1
		}
		if matched == 0 {
			return w.fail("value should match only one schema, but matches none")
		}
	}
	if n.cond != nil {
		if w.try(n.cond, v) {
			if n.then != nil && !w.try(n.then, v) {
				return w.fail("then clause did not match")
			}
		} else if n.els != nil && !w.try(n.els, v) {
			return w.fail("else clause did not match")
		}
	}
	if n.not != nil && w.try(n.not, v) {
		return w.fail("value wasn't supposed to match schema")
	}
	return nil
}

// rest applies what is judged last: names, format, const, contains.
func (w *walker) rest(n *node, v any) error {
	if n.propertyNames != nil {
		if m, ok := v.(map[string]any); ok {
			for _, name := range sorted(m) {
				if err := w.walk(n.propertyNames, name); err != nil {
					return err
				}
			}
		}
	}
	if s, ok := v.(string); ok && n.formatOK != nil && !n.formatOK(s) {
		return w.fail("expect valid ", n.format, " format but got: ", s)
	}
	if n.constant != nil && !equal(*n.constant, v) {
		return w.fail("failed to check const value")
	}
	if n.contains == nil {
		return nil
	}
	a, isArray := v.([]any)
	if m, ok := v.(map[string]any); isArray && len(a) == 0 || ok && len(m) == 0 {
		return w.fail("check contains: empty array is invalid")
	}
	if isArray && !slices.ContainsFunc(a, func(e any) bool { return w.try(n.contains, e) }) {
		return w.fail("failed to check contains")
	}
	return nil
}
