package router

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
)

const many = 100_000

// shapes are the sets of routes that the bars are set for.
var shapes = []struct {
	name  string
	route func(i int) Route[int]
	in    func(i int) Input
}{
	{"1000hosts", func(i int) Route[int] {
		return Route[int]{Paths: []string{fmt.Sprintf("/svc%d/items/*", i/1000)}, Hosts: []string{fmt.Sprintf("host%d.example.com", i%1000)}}
	}, func(i int) Input {
		return Input{Host: fmt.Sprintf("host%d.example.com", i%1000), Path: fmt.Sprintf("/svc%d/items/17", i/1000)}
	}},
	// 40 paths to a host, of words: what go-radix sees most of.
	{"2500hosts", func(i int) Route[int] {
		return Route[int]{Paths: []string{"/v1/" + word(i/2500) + "/*"}, Hosts: []string{fmt.Sprintf("host%d.example.com", i%2500)}}
	}, func(i int) Input {
		return Input{Host: fmt.Sprintf("host%d.example.com", i%2500), Path: "/v1/" + word(i/2500) + "/17"}
	}},
	{"nohost", func(i int) Route[int] {
		return Route[int]{Paths: []string{fmt.Sprintf("/team%d/svc%d/*", i%97, i)}}
	}, func(i int) Input {
		return Input{Host: "a.com", Path: fmt.Sprintf("/team%d/svc%d/items/17", i%97, i)}
	}},
	{"exact", func(i int) Route[int] {
		return Route[int]{Paths: []string{fmt.Sprintf("/api/v1/%d", i)}, Hosts: []string{"one.example.com"}}
	}, func(i int) Input {
		return Input{Host: "one.example.com", Path: fmt.Sprintf("/api/v1/%d", i)}
	}},
	{"prefix", func(i int) Route[int] {
		return Route[int]{Paths: []string{fmt.Sprintf("/api/v1/%d*", i)}, Hosts: []string{"one.example.com"}}
	}, func(i int) Input {
		return Input{Host: "one.example.com", Path: fmt.Sprintf("/api/v1/%d/x", i)}
	}},
	{"hosts", func(i int) Route[int] {
		return Route[int]{Paths: []string{"/*"}, Hosts: []string{fmt.Sprintf("*.t%d.example.com", i)}}
	}, func(i int) Input {
		return Input{Host: fmt.Sprintf("a.t%d.example.com", i), Path: "/index.html"}
	}},
	{"samepath", func(i int) Route[int] {
		return Route[int]{Paths: []string{"/*"}, Priority: i}
	}, func(int) Input { return Input{Host: "a.com", Path: "/index.html"} }},
}

// word makes a name of a number below 64.
func word(i int) string {
	syllables := [...]string{"or", "us", "pay", "cat", "in", "del", "bask", "re"}
	return syllables[i/8] + syllables[i%8] + "s"
}

// In mode URI many hosts have the same paths.
func BenchmarkMatchURI(b *testing.B) {
	r, _ := New(URI, benchRoutes(shapes[0].route))
	ins := make([]Input, 1024)
	for i := range ins {
		ins[i] = shapes[0].in(i * 7919 % many)
		ins[i].Params = make([]Param, 0, 4)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := r.Match(&ins[i%len(ins)]); !ok {
			b.Fatal("no match")
		}
	}
}

func BenchmarkWithURI(b *testing.B) {
	r, _ := New(URI, benchRoutes(func(i int) Route[int] {
		return Route[int]{Paths: []string{"/*"}, Hosts: []string{fmt.Sprintf("h%d.example.com", i)}}
	}))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := i * 7919 % many
		r, _ = r.With([]Route[int]{{ID: strconv.Itoa(id), To: i, Order: int64(id), Paths: []string{"/*"}, Hosts: []string{fmt.Sprintf("h%d.example.com", id)}}}, nil)
	}
}

func benchRoutes(route func(int) Route[int]) []Route[int] {
	routes := make([]Route[int], many)
	for i := range routes {
		routes[i] = route(i)
		routes[i].ID, routes[i].To, routes[i].Order = strconv.Itoa(i), i, int64(i)
	}
	return routes
}

func BenchmarkMatch(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			r, _ := New(HostURI, benchRoutes(s.route))
			ins := make([]Input, 1024)
			for i := range ins {
				ins[i] = s.in(i * 7919 % many)
				ins[i].Method = "GET"
				ins[i].Params = make([]Param, 0, 4)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok := r.Match(&ins[i%len(ins)]); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkWith(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			r, _ := New(HostURI, benchRoutes(s.route))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				one := s.route(i * 7919 % many)
				one.ID = strconv.Itoa(i * 7919 % many)
				one.To = i
				r, _ = r.With([]Route[int]{one}, nil)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			routes := benchRoutes(s.route)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var r *Router[int]
			b.ReportAllocs()
			for b.Loop() {
				r, _ = New(HostURI, routes)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "bytes/route")
			runtime.KeepAlive(r)
			runtime.KeepAlive(routes)
		})
	}
}

// Few routes are the common case.
func BenchmarkMatchFew(b *testing.B) {
	for _, n := range []int{1, 3, 10, 30} {
		for _, mode := range allModes {
			b.Run(fmt.Sprint(n, "/", mode), func(b *testing.B) {
				var routes []Route[int]
				for i := range n {
					r := Route[int]{ID: strconv.Itoa(i), To: i, Methods: []string{"GET", "POST"}, Paths: []string{fmt.Sprintf("/service%d/*", i)}}
					if i%3 == 2 {
						r.Hosts = []string{fmt.Sprintf("api%d.example.com", i)}
					}
					routes = append(routes, r)
				}
				r, _ := New(mode, routes)
				in := make([]Input, n)
				for i := range in {
					in[i] = Input{Host: fmt.Sprintf("api%d.example.com", i), Path: fmt.Sprintf("/service%d/items/17", i), Method: "GET", Params: make([]Param, 0, 4)}
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, ok := r.Match(&in[i%n]); !ok {
						b.Fatal("no match")
					}
				}
			})
		}
	}
}
