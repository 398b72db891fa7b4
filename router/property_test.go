package router

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// dice makes routes and requests out of few words, so that they meet often.
type dice struct{ *rand.Rand }

func pick[E any](d dice, of ...E) E { return of[d.IntN(len(of))] }

func (d dice) path(config bool) string {
	var b strings.Builder
	for range 1 + d.IntN(4) {
		b.WriteByte('/')
		b.WriteString(pick(d, "a", "b", "ab", "abc", "a.b", "A", ""))
		if config && d.IntN(3) == 0 {
			b.WriteString(pick(d, "*", "*", "*x", ":p", ":q", "*x:", "c:d"))
		}
	}
	if b.Len() > 1 && d.IntN(3) == 0 {
		b.WriteByte('/')
	}
	if config && d.IntN(4) == 0 {
		b.WriteString(pick(d, "*", "/*", "/:p", "/*x"))
	}
	if config && d.IntN(30) == 0 {
		return pick(d, "*", "/*", "*x", "/")
	}
	return b.String()
}

func (d dice) host(config bool) string {
	h := pick(d, "a.com", "b.a.com", "c.b.a.com", "xa.com", "A.com", "com")
	if !config {
		return strings.ToLower(h)
	}
	return pick(d, h, h, "*."+h, "*"+h, "*", h+":80", "*"+h+":80")
}

func (d dice) route(id int) Route[string] {
	r := Route[string]{
		ID:       fmt.Sprint(id),
		To:       fmt.Sprint(id, "-", d.IntN(1000)),
		Priority: pick(d, 0, 0, 0, 1, 2, -1),
		Order:    int64(d.IntN(5)),
	}
	for range 1 + d.IntN(3) {
		r.Paths = append(r.Paths, d.path(true))
	}
	for range d.IntN(3) {
		r.Hosts = append(r.Hosts, d.host(true))
	}
	if d.IntN(4) == 0 {
		r.Methods = []string{pick(d, "GET", "POST"), "PUT"}
	}
	if d.IntN(6) == 0 {
		r.Addrs = []netip.Prefix{netip.MustParsePrefix(pick(d, "10.0.0.0/8", "10.0.0.1/32", "::/0"))}
	}
	if d.IntN(6) == 0 {
		want := pick(d, 1, 2)
		r.When = func(in *Input) bool { return in.Ctx.(int) == want }
	}
	return r
}

func (d dice) input(in *Input) {
	in.Host = d.host(false)
	in.HostPort = pick(d, "", in.Host, in.Host+":80")
	in.Path = d.path(false)
	in.Method = pick(d, "GET", "POST", "PUT", "BREW")
	in.Addr = netip.MustParseAddr(pick(d, "10.0.0.1", "10.2.0.1", "1.1.1.1", "::1"))
	in.Ctx = d.IntN(3)
}

func TestMatchesLikeTheNaiveRouter(t *testing.T) {
	for _, mode := range []Mode{HostURI, URI, URIWithParameter} {
		t.Run(string(mode), func(t *testing.T) {
			for seed := range uint64(30) {
				d := dice{rand.New(rand.NewPCG(seed, 7))}
				live := map[string]Route[string]{}
				r, errs := New[string](mode, nil)
				if errs != nil {
					t.Fatal(errs)
				}
				for step := range 6 {
					r = d.change(t, r, live, step == 0)
					compareAll(t, d, r, live)
					if t.Failed() {
						t.Fatalf("seed %d, step %d", seed, step)
					}
				}
			}
		})
	}
}

// change puts and deletes some routes, in the router and in live.
func (d dice) change(t *testing.T, r *Router[string], live map[string]Route[string], many bool) *Router[string] {
	n := 1 + d.IntN(3)
	if many {
		n = pick(d, 3, 30, 300)
	}
	var put []Route[string]
	var del []string
	for range n {
		id := d.IntN(400)
		if d.IntN(4) == 0 {
			del = append(del, fmt.Sprint(id))
			delete(live, fmt.Sprint(id))
			continue
		}
		put = append(put, d.route(id))
	}
	for _, p := range put {
		live[p.ID] = p
	}
	next, errs := r.With(put, del)
	if errs != nil {
		t.Fatal(errs)
	}
	return next
}

func compareAll(t *testing.T, d dice, r *Router[string], live map[string]Route[string]) {
	t.Helper()
	routes := slices.Collect(maps.Values(live))
	whole, _ := New(r.mode, routes)
	if r.Len() != len(live) || whole.Len() != len(live) {
		t.Errorf("Len = %d and %d, want %d", r.Len(), whole.Len(), len(live))
	}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	if r.Digest(nil) != whole.Digest(nil) {
		t.Error("the digests differ")
	}
	n := naive{r.mode, routes}
	var in Input
	for range 60 {
		d.input(&in)
		want, wantOK := n.match(&in)
		for _, r := range []*Router[string]{r, whole} {
			to, ok := r.Match(&in)
			got := found{to, in.MatchedPath, in.MatchedHost, map[string]string{}}
			for _, p := range in.Params {
				got.params[p.Name] = p.Value
			}
			if !ok {
				got.params = nil
			}
			if c, found := firstCandidate(r, in); found != wantOK || c != want.to {
				t.Errorf("%+v: the first candidate is %v, want %v", in, c, want.to)
			}
			if ok != wantOK || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%+v:\n got %v %v\nwant %v %v", in, got, ok, want, wantOK)
			}
		}
	}
}

func firstCandidate(r *Router[string], in Input) (string, bool) {
	for c := range r.Candidates(&in) {
		if c.Failed == "" {
			return c.To, true
		}
	}
	return "", false
}
