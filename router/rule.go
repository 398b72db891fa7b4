package router

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// methods is a set of request methods.
type methods uint16

// methodOf returns the set of one method; empty for those that a route cannot list.
func methodOf(name string) methods {
	switch name {
	case "GET":
		return 1
	case "POST":
		return 1 << 1
	case "PUT":
		return 1 << 2
	case "DELETE":
		return 1 << 3
	case "PATCH":
		return 1 << 4
	case "HEAD":
		return 1 << 5
	case "OPTIONS":
		return 1 << 6
	case "CONNECT":
		return 1 << 7
	case "TRACE":
		return 1 << 8
	case "PURGE":
		return 1 << 9
	}
	return 0
}

// rule is a route ready for matching.
type rule[T any] struct {
	Route[T]
	methods methods
	hosts   []host // lower-cased, each once
	// plainHosts: there are hosts, and all are names without star and port.
	plainHosts bool
	entries    []entry[T]
}

// host is one host of a route.
type host struct {
	name string // without the star
	show string // as shown to the caller
	wild bool   // matches by its end
	port bool   // has a colon: compared with the Host header as it came
}

// entry is one path of a route.
type entry[T any] struct {
	text    string   // path up to where it is a pattern: the key in the tree
	rest    string   // name under which all after text is captured; "" if nothing is, or pattern says it
	pattern *pattern // nil: text says it all
	methods methods  // of the rule: 0 for any
	plain   bool     // no condition but path, method and host
	hosted  bool     // the rule's hosts are a condition, not a place in the tree
	exact   bool
	nth     int32 // place in the route's paths
	to      T
	path    string // as configured
	rule    *rule[T]
}

func newRule[T any](route *Route[T], mode Mode) (*rule[T], error) {
	r := &rule[T]{Route: *route}
	for _, name := range route.Methods {
		m := methodOf(name)
		if m == 0 {
			return nil, fmt.Errorf("method %q is unknown", name)
		}
		r.methods |= m
	}
	for _, name := range route.Hosts {
		if name == "" {
			return nil, errors.New("host is empty")
		}
		show := strings.ToLower(name)
		name, wild := strings.CutPrefix(show, "*")
		h := host{name: name, show: show, wild: wild, port: strings.Contains(name, ":")}
		if !slices.Contains(r.hosts, h) {
			r.hosts = append(r.hosts, h)
		}
	}
	r.plainHosts = len(r.hosts) > 0 && !slices.ContainsFunc(r.hosts, func(h host) bool { return h.wild || h.port })
	if len(route.Paths) == 0 {
		return nil, errors.New("no path")
	}
	r.entries = make([]entry[T], len(route.Paths))
	for i, path := range route.Paths {
		if path == "" {
			return nil, errors.New("path is empty")
		}
		r.entries[i] = r.entry(i, path, mode)
	}
	return r, nil
}

func (r *rule[T]) entry(nth int, path string, mode Mode) entry[T] {
	text, exact := splitPath(path, mode == URIWithParameter)
	e := entry[T]{rule: r, to: r.To, path: path, text: text, exact: exact, nth: int32(nth), methods: r.methods}
	if !exact {
		e.pattern = newPattern(path)
		if name, ok := e.pattern.onlyRest(text); ok {
			e.rest, e.pattern = name, nil
		}
	}
	e.hosted = mode != HostURI && len(r.hosts) > 0
	e.plain = len(r.Addrs) == 0 && r.When == nil
	return e
}

// admits says whether the request meets the conditions of the entry, whose text
// is known to fit. host is the configured host if it is known to fit too. On
// success the captures are in in.Params.
func (e *entry[T]) admits(in *Input, m methods, host string) bool {
	if e.methods != 0 && e.methods&m == 0 {
		return false
	}
	if e.hosted && host == "" {
		h := e.rule.host(in)
		if h == nil {
			return false
		}
		host = h.show
	}
	if !e.plain && !e.rule.holds(in) {
		return false
	}
	if e.rest != "" {
		in.Params = append(in.Params, Param{e.rest, in.Path[len(e.text):]})
	} else if e.pattern != nil {
		var ok bool
		if in.Params, ok = e.pattern.match(in.Path, in.Params); !ok {
			return false
		}
	}
	in.MatchedHost = host
	return true
}

// holds says whether the request meets the conditions that few rules have.
func (r *rule[T]) holds(in *Input) bool {
	return (len(r.Addrs) == 0 || contains(r.Addrs, in.Addr)) && (r.When == nil || r.When(in))
}

// host returns the host of the rule that fits the request.
func (r *rule[T]) host(in *Input) *host {
	for i := range r.hosts {
		h := &r.hosts[i]
		name := in.Host
		if h.port && in.HostPort != "" {
			name = in.HostPort
		}
		if h.name == name || h.wild && strings.HasSuffix(name, h.name) {
			return h
		}
	}
	return nil
}

func contains(nets []netip.Prefix, addr netip.Addr) bool {
	for _, p := range nets {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// compare is the order of trial within one bucket. It tells any two entries apart.
func (e *entry[T]) compare(o *entry[T]) int {
	if e.exact != o.exact {
		if e.exact {
			return -1
		}
		return 1
	}
	if e.rule.Priority != o.rule.Priority {
		return cmp.Compare(o.rule.Priority, e.rule.Priority)
	}
	if len(e.path) != len(o.path) {
		return cmp.Compare(len(o.path), len(e.path))
	}
	if e.rule.Order != o.rule.Order {
		return cmp.Compare(e.rule.Order, o.rule.Order)
	}
	if c := strings.Compare(e.rule.ID, o.rule.ID); c != 0 {
		return c
	}
	return cmp.Compare(e.nth, o.nth)
}
