package schema

import "slices"

// children are the schemas below n, for values inside and for the same value.
func (n *node) children() []*node {
	out := append(n.inPlace(), n.items, n.extra, n.contains, n.additional, n.propertyNames)
	out = append(out, n.tuple...)
	for i := range n.props {
		out = append(out, n.props[i].node)
	}
	for i := range n.patterns {
		out = append(out, n.patterns[i].node)
	}
	return slices.DeleteFunc(out, func(c *node) bool { return c == nil })
}

// markFills notes where defaults can come in, and what the library cannot see
// of them. References may go round, so it goes on until nothing changes.
func (b *builder) markFills(roots ...*node) (peculiar bool) {
	nodes := map[*node]bool{}
	var collect func(*node)
	collect = func(n *node) {
		if !nodes[n] {
			nodes[n] = true
			for _, c := range n.children() {
				collect(c)
			}
		}
	}
	for _, n := range roots {
		collect(n)
	}
	for changed := true; changed; {
		changed = false
		for n := range nodes {
			if !n.fills && (n.hasDefault() || slices.ContainsFunc(n.children(), (*node).isFilling)) {
				n.fills, changed = true, true
			}
		}
	}
	for n := range nodes {
		n.choiceFills = slices.ContainsFunc(n.inPlace(), (*node).isFilling)
		n.otherFills = n.additional != nil && n.additional.fills
		for i := range n.patterns {
			n.otherFills = n.otherFills || n.patterns[i].node.fills
		}
		peculiar = peculiar || n.isPeculiar()
	}
	return peculiar
}

func (n *node) isFilling() bool { return n.fills }

func (n *node) hasDefault() bool {
	return slices.ContainsFunc(n.props, func(p prop) bool { return p.hasDef })
}

// isPeculiar reports a keyword whose meaning to APISIX is not draft 7's, or a
// default under a name that a pattern judges too.
func (n *node) isPeculiar() bool {
	if n.emptyRequired || n.types&^(typeObject|typeArray|typeString|typeNumber|typeInteger|typeBoolean|typeNull) != 0 {
		return true
	}
	for _, p := range n.props {
		if p.hasDef && slices.ContainsFunc(n.patterns, func(q patternProp) bool { return q.match(p.name) }) {
			return true
		}
	}
	return false
}
