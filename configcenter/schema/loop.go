package schema

import "errors"

// errLoop is the error of a schema that would judge the same value for ever.
var errLoop = errors.New("refers to itself without going deeper into the document")

// inPlace are the schemas that judge the same value as n.
func (n *node) inPlace() []*node {
	var out []*node
	for _, list := range [][]*node{n.allOf, n.anyOf, n.oneOf, {n.cond, n.then, n.els, n.not}} {
		for _, sub := range list {
			if sub != nil {
				out = append(out, sub)
			}
		}
	}
	for _, d := range n.needs {
		if d.node != nil {
			out = append(out, d.node)
		}
	}
	for _, p := range n.props {
		if p.need != nil && p.need.node != nil {
			out = append(out, p.need.node)
		}
	}
	return out
}

// checkLoops looks for a node that comes back to itself in place.
func (b *builder) checkLoops() error {
	state := map[*node]int{} // 1: on the way down from here, 2: done
	var visit func(*node) bool
	visit = func(n *node) bool {
		switch state[n] {
		case 1:
			return false
		case 2:
			return true
		}
		state[n] = 1
		for _, sub := range n.inPlace() {
			if !visit(sub) {
				return false
			}
		}
		state[n] = 2
		return true
	}
	for _, n := range b.done {
		if !visit(n) {
			return errLoop
		}
	}
	return nil
}
