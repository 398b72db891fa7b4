// Package jsonpath finds values in decoded JSON by JSONPath. It bounds the work
// of one query, and does not know where documents come from.
package jsonpath

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// step is one part of a JSONPath: which children of a value it selects.
type step struct {
	deep  bool     // ".." before it: of the value and everything below
	any   bool     // "*"
	names []string // .name, ['a','b']
	index []int    // [0], [-1], [0,2]
	span  *span    // [from:to:by]
	where *test    // [?(@.a == 'b')]
}

type span struct {
	from, to *int
	by       int
}

// test compares what lies at path below a child with a value; op "" only asks
// whether it is there.
type test struct {
	path []step
	op   string
	want any
}

// Path is a compiled JSONPath.
type Path []step

// Parse reads a path that begins with "$".
func Parse(s string) (Path, error) {
	rest, ok := strings.CutPrefix(s, "$")
	if !ok {
		return nil, errors.New("must begin with $")
	}
	steps := []step{}
	for rest != "" {
		st, after, err := parseStep(rest)
		if err != nil {
			return nil, err
		}
		steps = append(steps, st)
		rest = after
	}
	return steps, nil
}

func parseStep(s string) (st step, rest string, err error) {
	switch {
	case strings.HasPrefix(s, ".."):
		st.deep = true
		s = s[2:]
	case s[0] == '.':
		s = s[1:]
		if s == "" {
			return st, "", errors.New("ends with a dot")
		}
	}
	if s != "" && s[0] == '[' {
		end := closing(s)
		if end < 0 {
			return st, "", errors.New("[ without ]")
		}
		return st, s[end+1:], st.parseBrackets(strings.TrimSpace(s[1:end]))
	}
	n := strings.IndexAny(s, ".[")
	if n < 0 {
		n = len(s)
	}
	name := s[:n]
	switch {
	case name == "*":
		st.any = true
	case name == "" || strings.ContainsAny(name, "*]()'\" "):
		return st, "", fmt.Errorf("bad name %q", name)
	default:
		st.names = []string{name}
	}
	return st, s[n:], nil
}

// closing is the index of the bracket that closes the one s begins with.
func closing(s string) int {
	depth := 0
	var quote byte
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case quote != 0:
			if b == '\\' {
				i++
			} else if b == quote {
				quote = 0
			}
		case b == '\'' || b == '"':
			quote = b
		case b == '[':
			depth++
		case b == ']':
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (st *step) parseBrackets(s string) error {
	switch {
	case s == "*":
		st.any = true
		return nil
	case strings.HasPrefix(s, "?(") && strings.HasSuffix(s, ")"):
		t, err := parseTest(strings.TrimSpace(s[2 : len(s)-1]))
		st.where = t
		return err
	case s == "":
		return errors.New("empty brackets")
	case s[0] != '\'' && s[0] != '"' && strings.Contains(s, ":"):
		return st.parseSpan(s)
	}
	for s != "" {
		if s[0] == '\'' || s[0] == '"' {
			end := strings.IndexByte(s[1:], s[0])
			if end < 0 {
				return errors.New("quote is not closed")
			}
			st.names = append(st.names, s[1:end+1])
			s = strings.TrimSpace(s[end+2:])
			if s != "" && s[0] != ',' {
				return fmt.Errorf("%q after a name", s)
			}
			s = strings.TrimSpace(strings.TrimPrefix(s, ","))
			continue
		}
		item, after, _ := strings.Cut(s, ",")
		n, err := strconv.Atoi(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("bad index %q", item)
		}
		st.index = append(st.index, n)
		s = strings.TrimSpace(after)
	}
	return nil
}

func (st *step) parseSpan(s string) error {
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return fmt.Errorf("bad slice %q", s)
	}
	var n [3]*int
	for i, p := range parts {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		v, err := strconv.Atoi(p)
		if err != nil {
			return fmt.Errorf("bad slice %q", s)
		}
		n[i] = &v
	}
	st.span = &span{from: n[0], to: n[1], by: 1}
	if n[2] != nil {
		st.span.by = *n[2]
	}
	if st.span.by <= 0 {
		return fmt.Errorf("bad slice %q", s)
	}
	return nil
}

func parseTest(s string) (*test, error) {
	rest, ok := strings.CutPrefix(s, "@")
	if !ok {
		return nil, fmt.Errorf("filter %q must begin with @", s)
	}
	t := &test{}
	pos := len(rest)
	for _, op := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if i := strings.Index(rest, op); i >= 0 && i < pos {
			pos, t.op = i, op
		}
	}
	path, err := Parse("$" + strings.TrimSpace(rest[:pos]))
	if err != nil {
		return nil, err
	}
	t.path = path
	if t.op == "" {
		return t, nil
	}
	lit := strings.TrimSpace(rest[pos+len(t.op):])
	if len(lit) >= 2 && lit[0] == '\'' && lit[len(lit)-1] == '\'' {
		t.want = lit[1 : len(lit)-1]
		return t, nil
	}
	if err := json.Unmarshal([]byte(lit), &t.want); err != nil {
		return nil, fmt.Errorf("filter value %q: %w", lit, err)
	}
	return t, nil
}

// maxVisits bounds the work of one path in one body: paths with several ".."
// could otherwise look at the same values again and again.
const maxVisits = 1_000_000

// Query returns everything that the path leads to from root, a document as
// encoding/json decodes it, in the order of
// the body; members of an object are taken by name. What lies behind the bound
// of the work is not found.
func (p Path) Query(root any) []any {
	left := maxVisits
	return walkJSON(p, root, &left)
}

func walkJSON(steps []step, root any, left *int) []any {
	now := []any{root}
	for i := range steps {
		var next []any
		for _, v := range now {
			next = steps[i].apply(next, v, left)
		}
		now = next
	}
	return now
}

func (st *step) apply(to []any, v any, left *int) []any {
	if *left <= 0 {
		return to
	}
	before := len(to)
	to = st.children(to, v, left)
	*left -= 1 + len(to) - before
	if !st.deep {
		return to
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			to = st.apply(to, v[k], left)
		}
	case []any:
		for _, e := range v {
			to = st.apply(to, e, left)
		}
	}
	return to
}

func (st *step) children(to []any, v any, left *int) []any {
	switch v := v.(type) {
	case map[string]any:
		if st.any || st.where != nil {
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if st.where == nil || st.where.holds(v[k], left) {
					to = append(to, v[k])
				}
			}
			return to
		}
		for _, name := range st.names {
			if e, ok := v[name]; ok {
				to = append(to, e)
			}
		}
	case []any:
		to = st.elements(to, v, left)
	}
	return to
}

func (st *step) elements(to []any, v []any, left *int) []any {
	switch {
	case st.any:
		return append(to, v...)
	case st.where != nil:
		for _, e := range v {
			if st.where.holds(e, left) {
				to = append(to, e)
			}
		}
		return to
	case st.span != nil:
		from, end := st.span.bounds(len(v))
		for i := from; i < end; i += st.span.by {
			to = append(to, v[i])
		}
		return to
	}
	for _, n := range st.index {
		if n < 0 {
			n += len(v)
		}
		if n >= 0 && n < len(v) {
			to = append(to, v[n])
		}
	}
	return to
}

func (s *span) bounds(n int) (from, to int) {
	from, to = 0, n
	if s.from != nil {
		from = *s.from
	}
	if s.to != nil {
		to = *s.to
	}
	if from < 0 {
		from += n
	}
	if to < 0 {
		to += n
	}
	return max(from, 0), min(to, n)
}

func (t *test) holds(v any, left *int) bool {
	found := walkJSON(t.path, v, left)
	if t.op == "" || len(found) == 0 {
		return len(found) > 0 && t.op == ""
	}
	got := found[0]
	if want, ok := t.want.(float64); ok {
		n, isNumber := got.(json.Number)
		f, err := n.Float64()
		if !isNumber || err != nil {
			return t.op == "!="
		}
		return compare(t.op, f, want)
	}
	if want, ok := t.want.(string); ok {
		s, isText := got.(string)
		if !isText {
			return t.op == "!="
		}
		return compare(t.op, s, want)
	}
	return (got == t.want) == (t.op == "==")
}

func compare[T float64 | string](op string, a, b T) bool {
	switch op {
	case "==":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}
