// Package router finds the route of a request by host, path and method, in the
// orders of APISIX's three routers. A Router is immutable; With makes the next
// one and shares with it all that the changes do not touch.
//
// It does not know what a route leads to, where routes come from, nor how
// variables and expressions work: a route brings its condition as a function.
package router

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"
)

// Mode is one of APISIX's routers.
type Mode string

const (
	// HostURI tries the exact host first, then wildcard hosts, longest first,
	// then the routes without host; paths only compete within one host.
	HostURI Mode = "radixtree_host_uri"
	// URI tries paths first; a host is a condition like others.
	URI Mode = "radixtree_uri"
	// URIWithParameter is URI with segments like :name in paths.
	URIWithParameter Mode = "radixtree_uri_with_parameter"
)

// Route is one route. Empty lists mean "any", except for Paths.
type Route[T any] struct {
	ID string
	// Paths are exact, or have a star from which on they are a pattern.
	Paths []string
	// Hosts are names, or begin with a star and match by what follows it.
	Hosts   []string
	Methods []string
	Addrs   []netip.Prefix // of the client
	// Priority orders routes of the same exact path, or of the same text before
	// the star; higher is first.
	Priority int
	// Order is the place in the order of insertion: what decides between routes
	// of equal priority and length of path; lower is first, then by ID.
	Order int64
	// When is a further condition, asked last; nil for none. It must not keep
	// the Input nor change it.
	When func(*Input) bool
	To   T
}

// Input is a request as the router sees it, and what Match found. It is reused
// by its owner from request to request.
type Input struct {
	Host     string // lower-cased, without port
	HostPort string // the Host header as it came
	Path     string // decoded and normalised
	Method   string
	Addr     netip.Addr
	Ctx      any // the caller's, for When

	Params      []Param // captures of the path, set by Match; the backing is reused
	MatchedPath string  // the configured path that matched
	MatchedHost string  // the configured host that matched, lower-cased; "" if none
}

// Param is one capture of a path.
type Param struct{ Name, Value string }

// Router finds routes. It is safe for use by many goroutines.
type Router[T any] struct {
	mode  Mode
	ids   *node[*rule[T]]
	names *node[*table[T]]    // by name of the host; empty unless HostURI
	wilds *node[wildTable[T]] // by reversed end of the name; likewise
	any   *table[T]           // HostURI: routes without host; else all
}

// table is the paths of one host.
type table[T any] = node[bucket[T]]

// wildTable is the paths of one wildcard host.
type wildTable[T any] struct {
	paths *table[T]
	show  string // the wildcard as shown to the caller
}

// New makes a router. An invalid route is left out and reported; of several
// with one ID the last stays.
func New[T any](mode Mode, routes []Route[T]) (*Router[T], []error) {
	switch mode {
	case HostURI, URI, URIWithParameter:
	default:
		return &Router[T]{mode: URI}, []error{fmt.Errorf("router mode %q is unknown", mode)}
	}
	return (&Router[T]{mode: mode}).With(routes, nil)
}

// With returns a router in which the routes of put are added, or replaced by ID,
// and those with an ID in del are gone. An invalid route is reported, and an
// earlier one of its ID stays as it is.
func (r *Router[T]) With(put []Route[T], del []string) (*Router[T], []error) {
	next := &Router[T]{mode: r.mode, ids: r.ids, names: r.names, wilds: r.wilds, any: r.any}
	changes, errs := r.changes(put, del)
	if len(changes) == 0 {
		return next, errs
	}
	var ops []op[T]
	ids := make([]edit[*rule[T]], 0, len(changes))
	for _, c := range changes {
		if old := r.ids.get(c.id); old != nil {
			ops = old.val.ops(ops, r.mode, true)
		}
		if c.rule != nil {
			ops = c.rule.ops(ops, r.mode, false)
		}
		ids = append(ids, edit[*rule[T]]{key: c.id, val: c.rule, del: c.rule == nil})
	}
	next.ids = r.ids.with(ids, false)
	next.apply(ops)
	return next, errs
}

// Len is the number of routes.
func (r *Router[T]) Len() int { return r.ids.size() }

// Match finds the route of a request, and fills in what matched. It does not
// allocate once in.Params has room.
func (r *Router[T]) Match(in *Input) (to T, ok bool) {
	in.Params, in.MatchedPath, in.MatchedHost = in.Params[:0], "", ""
	if e := r.find(in); e != nil {
		return e.to, true
	}
	return to, false
}

func (r *Router[T]) find(in *Input) *entry[T] {
	m := methodOf(in.Method)
	if r.names != nil {
		if s := r.names.get(in.Host); s != nil {
			if e := search(s.val, in, m); e != nil {
				in.MatchedHost = s.key
				return e
			}
		}
	}
	if r.wilds != nil {
		if e := r.findWild(in, m); e != nil {
			return e
		}
	}
	return search(r.any, in, m)
}

// findWild tries the tables of wildcard hosts, longest first.
func (r *Router[T]) findWild(in *Input, m methods) *entry[T] {
	var space [64]byte
	name := reversed(space[:0], in.Host)
	var room [4]*slot[wildTable[T]]
	chain := r.wilds.find(unsafe.String(unsafe.SliceData(name), len(name)), room[:0])
	for i := len(chain) - 1; i >= 0; i-- {
		for s := chain[i]; s != nil; s = s.up {
			if e := search(s.val.paths, in, m); e != nil {
				in.MatchedHost = s.val.show
				return e
			}
		}
	}
	return nil
}

// search tries the entries of a table: the exact ones, then the literal
// beginnings of the path from the longest to the shortest.
func search[T any](t *table[T], in *Input, m methods) *entry[T] {
	var room [8]*slot[bucket[T]]
	chain := t.find(in.Path, room[:0])
	for i := len(chain) - 1; i >= 0; i-- {
		for s := chain[i]; s != nil; s = s.up {
			if e := s.val.find(in, m, len(s.key) < len(in.Path)); e != nil {
				in.MatchedPath = e.path
				return e
			}
		}
	}
	return nil
}

// reversed appends the bytes of name from the last to the first.
func reversed(space []byte, name string) []byte {
	for i := len(name) - 1; i >= 0; i-- {
		space = append(space, name[i])
	}
	return space
}

// change is a rule that comes, or an ID that goes.
type change[T any] struct {
	id   string
	rule *rule[T] // nil: goes
}

// changes compiles put and del into one change per ID, sorted by ID.
func (r *Router[T]) changes(put []Route[T], del []string) ([]change[T], []error) {
	var errs []error
	out := make([]change[T], 0, len(put)+len(del))
	for _, id := range del {
		out = append(out, change[T]{id: id})
	}
	for i := range put {
		c, err := newRule(&put[i], r.mode)
		if err != nil {
			errs = append(errs, fmt.Errorf("route %q: %w", put[i].ID, err))
			continue
		}
		out = append(out, change[T]{id: c.ID, rule: c})
	}
	slices.SortStableFunc(out, func(a, b change[T]) int { return strings.Compare(a.id, b.id) })
	last := out[:0]
	for i, c := range out {
		if i+1 == len(out) || out[i+1].id != c.id {
			last = append(last, c)
		}
	}
	return last, errs
}
