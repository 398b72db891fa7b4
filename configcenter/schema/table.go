package schema

import (
	"slices"
	"strconv"
)

// object applies the keywords about objects. A nil map is an empty array taken
// for an object: it has no place for defaults.
func (w *walker) object(n *node, m map[string]any) error {
	for i := range n.props {
		if err := w.prop(&n.props[i], m); err != nil {
			return err
		}
	}
	for _, name := range n.required {
		if _, ok := m[name]; !ok {
			return w.fail(`property "`, name, `" is required`)
		}
	}
	for i := range n.needs {
		if _, ok := m[n.needs[i].name]; ok {
			if err := w.need(&n.needs[i], m); err != nil {
				return err
			}
		}
	}
	if (n.patterns != nil || n.additional != nil) && (!w.filling || n.otherFills) {
		if err := w.others(n, m); err != nil {
			return err
		}
	}
	if len(m) < n.minProps {
		return w.fail("expect object to have at least ", strconv.Itoa(n.minProps), " properties")
	}
	if n.maxProps >= 0 && len(m) > n.maxProps {
		return w.fail("expect object to have at most ", strconv.Itoa(n.maxProps), " properties")
	}
	return nil
}

func (w *walker) prop(p *prop, m map[string]any) error {
	v, ok := m[p.name]
	if !ok {
		if p.required {
			return w.fail(`property "`, p.name, `" is required`)
		}
		if p.hasDef && m != nil {
			w.set(m, p.name, clone(p.def))
			w.filled++
		}
		return nil
	}
	if c, ok := p.node.coerce(v); ok {
		w.set(m, p.name, c)
		v = c
	}
	if err := w.walk(p.node, v); err != nil {
		return w.fail(`property "`, p.name, `" validation failed: `, err.Error())
	}
	if p.need != nil {
		return w.need(p.need, m)
	}
	return nil
}

// need applies a dependency whose name is there.
func (w *walker) need(d *need, m map[string]any) error {
	for _, name := range d.list {
		if _, ok := m[name]; !ok {
			return w.fail(`property "`, name, `" is required when "`, d.name, `" is set`)
		}
	}
	if d.node != nil {
		was := w.filling
		w.filling = false // the names before it may have been filled in
		err := w.walk(d.node, m)
		w.filling = was
		if err != nil {
			return w.fail(`failed to validate dependent schema for "`, d.name, `": `, err.Error())
		}
	}
	return nil
}

// others applies patternProperties and additionalProperties, in the order of
// the names so that the same document always gives the same error.
func (w *walker) others(n *node, m map[string]any) error {
	if n.patterns == nil && !n.hasOthers(m) {
		return nil
	}
	for _, name := range sorted(m) {
		matched := n.names[name]
		for i := range n.patterns {
			p := &n.patterns[i]
			if !p.match(name) {
				continue
			}
			matched = true
			if err := w.member(p.node, m, name); err != nil {
				return w.fail("failed to validate ", name, ` (matching "`, p.text, `"): `, err.Error())
			}
		}
		if matched || n.additional == nil {
			continue
		}
		if n.additional.never {
			return w.fail("additional properties forbidden, found ", name)
		}
		if err := w.member(n.additional, m, name); err != nil {
			return w.fail("failed to validate additional property ", name, ": ", err.Error())
		}
	}
	return nil
}

func (n *node) hasOthers(m map[string]any) bool {
	for name := range m {
		if !n.names[name] {
			return true
		}
	}
	return false
}

func (w *walker) member(n *node, m map[string]any, name string) error {
	v := m[name]
	if c, ok := n.coerce(v); ok {
		w.set(m, name, c)
		v = c
	}
	return w.walk(n, v)
}

func (w *walker) array(n *node, a []any) error {
	if n.items != nil && n.items.never && len(a) > 0 {
		return w.fail("expect false always")
	}
	if len(a) < n.minItems {
		return w.fail("expect array to have at least ", strconv.Itoa(n.minItems), " items")
	}
	if n.maxItems >= 0 && len(a) > n.maxItems {
		return w.fail("expect array to have at most ", strconv.Itoa(n.maxItems), " items")
	}
	for i := range a {
		sub, what := n.items, "failed to validate item "
		if i < len(n.tuple) {
			sub = n.tuple[i]
		} else if n.tuple != nil {
			sub, what = n.extra, "failed to validate additional item "
		}
		if sub == nil {
			continue
		}
		if sub == n.extra && sub.never {
			return w.fail("found unexpected extra items in array")
		}
		if c, ok := sub.coerce(a[i]); ok {
			w.setItem(a, i, c)
		}
		if err := w.walk(sub, a[i]); err != nil {
			return w.fail(what, strconv.Itoa(i+1), ": ", err.Error())
		}
	}
	if n.unique && !w.filling {
		return w.distinct(a)
	}
	return nil
}

func (w *walker) distinct(a []any) error {
	if i, j, ok := twins(a); ok {
		return w.fail("expected unique items but items ", strconv.Itoa(i+1), " and ", strconv.Itoa(j+1), " are equal")
	}
	return nil
}

// twins finds two equal items: first among plain values, then among tables.
func twins(a []any) (int, int, bool) {
	if len(a) < 2 {
		return 0, 0, false
	}
	seen := make(map[any]int, len(a))
	var tables []int
	for i, v := range a {
		switch v.(type) {
		case map[string]any, []any:
			tables = append(tables, i)
			continue
		}
		if f, ok := number(v); ok {
			v = f
		}
		if first, ok := seen[v]; ok {
			return first, i, true
		}
		seen[v] = i
	}
	for x, i := range tables {
		for _, j := range tables[x+1:] {
			if equal(a[i], a[j]) {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// equal compares two documents; numbers by value, and empty tables are equal.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		if len(a) == 0 {
			return isEmptyTable(b)
		}
		m, ok := b.(map[string]any)
		if !ok || len(a) != len(m) {
			return false
		}
		for k, v := range a {
			if o, ok := m[k]; !ok || !equal(v, o) {
				return false
			}
		}
		return true
	case []any:
		if len(a) == 0 {
			return isEmptyTable(b)
		}
		l, ok := b.([]any)
		return ok && slices.EqualFunc(a, l, equal)
	case string:
		s, ok := b.(string)
		return ok && a == s
	case bool:
		t, ok := b.(bool)
		return ok && a == t
	case nil:
		return b == nil
	}
	x, okx := number(a)
	y, oky := number(b)
	return okx && oky && x == y
}

func isEmptyTable(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// clone copies what could be changed through the document.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, e := range v {
			a[i] = clone(e)
		}
		return a
	}
	return v
}

func sorted(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
