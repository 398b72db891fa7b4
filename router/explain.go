package router

import "iter"

// Candidate is a route whose host and text fit a request, and how it fared.
type Candidate[T any] struct {
	To         T
	ID         string
	Path, Host string // as configured; Host is "" where the tree did not choose by it
	// Failed is the first condition that was not met: "method", "host",
	// "address", "condition" or "path"; "" if the route matches.
	Failed string
}

// Candidates yields, in the order of trial, the routes that Match looks at for
// the request, also those after the one it would stop at. It is for explaining
// a match, and changes in.Params.
func (r *Router[T]) Candidates(in *Input) iter.Seq[Candidate[T]] {
	return func(yield func(Candidate[T]) bool) {
		name := string(reversed(nil, in.Host))
		more := true
		try := func(t *table[T], path, host string) {
			ascend(t, path, func(s *slot[bucket[T]]) {
				c := s.val.crowd()
				entries := c.entries
				if len(s.key) < len(path) {
					entries = entries[c.exact:]
				}
				for _, e := range entries {
					in.Params = in.Params[:0]
					more = more && yield(Candidate[T]{To: e.to, ID: e.rule.ID, Path: e.path, Host: host, Failed: e.failed(in)})
				}
			})
		}
		if s := r.names.get(in.Host); s != nil {
			try(s.val, in.Path, s.key)
		}
		ascend(r.wilds, name, func(s *slot[wildTable[T]]) { try(s.val.paths, in.Path, s.val.show) })
		try(r.any, in.Path, "")
	}
}

// ascend visits the keys that are prefixes of text, longest first.
func ascend[V any](n *node[V], text string, visit func(*slot[V])) {
	chain := n.find(text, nil)
	for i := len(chain) - 1; i >= 0; i-- {
		for s := chain[i]; s != nil; s = s.up {
			visit(s)
		}
	}
}

// failed names the first condition that the request does not meet.
func (e *entry[T]) failed(in *Input) string {
	r := e.rule
	switch {
	case r.methods != 0 && r.methods&methodOf(in.Method) == 0:
		return "method"
	case e.hosted && r.host(in) == nil:
		return "host"
	case len(r.Addrs) > 0 && !contains(r.Addrs, in.Addr):
		return "address"
	case r.When != nil && !r.When(in):
		return "condition"
	}
	if e.pattern != nil {
		if _, ok := e.pattern.match(in.Path, in.Params); !ok {
			return "path"
		}
	}
	return ""
}
