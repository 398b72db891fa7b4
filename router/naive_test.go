package router

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"sluice/router/expr"
)

// naive is the rules of routing written down once more, with no structure at
// all: every request looks at every route. The real router must agree with it.
type naive struct {
	mode   Mode
	routes []Route[string]
}

type found struct {
	to, path, host string
	params         map[string]string
}

func (n naive) match(in *Input) (found, bool) {
	if n.mode != HostURI {
		return n.paths(in, func(r *Route[string]) (string, bool) { return hostCondition(r, in) })
	}
	var names []string
	for _, r := range n.routes {
		for _, h := range r.Hosts {
			if h = strings.ToLower(h); !slices.Contains(names, h) && fits(h, in.Host) {
				names = append(names, h)
			}
		}
	}
	// the exact one first, then the longest wildcard
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(boolInt(a[0] == '*'), boolInt(b[0] == '*')), cmp.Compare(len(b), len(a)))
	})
	for _, name := range names {
		f, ok := n.paths(in, func(r *Route[string]) (string, bool) {
			return name, slices.ContainsFunc(r.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
		})
		if ok {
			return f, true
		}
	}
	return n.paths(in, func(r *Route[string]) (string, bool) { return "", len(r.Hosts) == 0 })
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func fits(pattern, host string) bool {
	if end, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(host, end)
	}
	return pattern == host
}

func hostCondition(r *Route[string], in *Input) (string, bool) {
	if len(r.Hosts) == 0 {
		return "", true
	}
	for _, h := range r.Hosts {
		h = strings.ToLower(h)
		name := in.Host
		if strings.Contains(h, ":") && in.HostPort != "" {
			name = in.HostPort
		}
		if fits(h, name) {
			return h, true
		}
	}
	return "", false
}

// paths tries all paths of the routes that host lets in, in the order of trial.
func (n naive) paths(in *Input, host func(*Route[string]) (string, bool)) (found, bool) {
	type try struct {
		r      *Route[string]
		path   string
		prefix int // -1: exact
		nth    int
		host   string
	}
	var tries []try
	for i := range n.routes {
		r := &n.routes[i]
		h, ok := host(r)
		if !ok {
			continue
		}
		for nth, p := range r.Paths {
			prefix := strings.IndexByte(p, '*')
			if n.mode == URIWithParameter && strings.Contains(p, ":") {
				prefix = strings.IndexByte(p, ':')
			}
			if prefix < 0 && p == in.Path || prefix >= 0 && strings.HasPrefix(in.Path, p[:prefix]) {
				tries = append(tries, try{r, p, prefix, nth, h})
			}
		}
	}
	slices.SortFunc(tries, func(a, b try) int {
		return cmp.Or(
			cmp.Compare(boolInt(a.prefix >= 0), boolInt(b.prefix >= 0)),
			cmp.Compare(b.prefix, a.prefix),
			cmp.Compare(b.r.Priority, a.r.Priority),
			cmp.Compare(len(b.path), len(a.path)),
			cmp.Compare(a.r.Order, b.r.Order),
			cmp.Compare(a.r.ID, b.r.ID),
			cmp.Compare(a.nth, b.nth),
		)
	})
	for _, t := range tries {
		if len(t.r.Methods) > 0 && !slices.Contains(t.r.Methods, in.Method) {
			continue
		}
		if len(t.r.Addrs) > 0 && !contains(t.r.Addrs, in.Addr) {
			continue
		}
		if t.r.When != nil && !t.r.When(in) {
			continue
		}
		params := map[string]string{}
		if t.prefix >= 0 && !captures(t.path, in.Path, params) {
			continue
		}
		return found{t.r.To, t.path, t.host, params}, true
	}
	return found{}, false
}

// captures does what the radix tree of APISIX does: a regular expression of the
// configured path, which has to match the whole of the request's. The text is
// taken literally first.
func captures(pattern, path string, params map[string]string) bool {
	return capturesAs(pattern, path, params, regexp.QuoteMeta) ||
		capturesAs(pattern, path, params, func(s string) string { return s })
}

func capturesAs(pattern, path string, params map[string]string, quote func(string) string) bool {
	parts := strings.Split(strings.TrimRight(pattern, "/"), "/")
	var names []string
	special := false
	for i, p := range parts {
		switch {
		case strings.HasPrefix(p, ":"):
			names = append(names, p[1:])
			parts[i] = `(?<w_>[^/]+)`
		case strings.HasPrefix(p, "*"):
			name := p[1:]
			if name == "" {
				name = ":ext"
			}
			names = append(names, name)
			parts[i] = `(?<w_>[\s\S]*)`
		default:
			parts[i] = quote(p)
			special = special || strings.ContainsAny(parts[i], `\^$|?*+()[]{}`)
		}
	}
	if len(names) == 0 {
		return true
	}
	if quote("+") == "+" && !special {
		return false // a dot alone stays a dot
	}
	text := strings.Join(parts, "/")
	if strings.HasSuffix(pattern, "/") {
		text += "/"
	}
	r, err := expr.CompileRegex(text, "")
	if err != nil {
		return false
	}
	m := r.FindSubmatchIndex(path)
	if m == nil || m[0] != 0 || m[1] != len(path) {
		return false
	}
	k := 0
	for i, group := range r.Names() {
		if group != "w_" || k == len(names) {
			continue
		}
		if names[k] != "" && m[2*i] >= 0 {
			params[names[k]] = path[m[2*i]:m[2*i+1]]
		}
		k++
	}
	return true
}
