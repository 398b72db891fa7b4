package balancer

import (
	"fmt"
	"strconv"
	"testing"
)

func local(weights map[int]int, ports ...int) []*Endpoint {
	var eps []*Endpoint
	for _, p := range ports {
		eps = append(eps, &Endpoint{Addr: fmt.Sprintf("127.0.0.1:%d", p), Weight: weights[p]})
	}
	return eps
}

// Points and picks worked out from the published algorithm by another program
// (zlib's CRC32 over name, with ":" as NUL, and the previous point, little endian).
func TestRingGolden(t *testing.T) {
	eps := local(map[int]int{1985: 2, 1986: 2, 1987: 1}, 1985, 1986, 1987)
	p := Kinds["chash"](eps).(*chash)
	if n := len(p.ring.hashes); n != 800 {
		t.Fatalf("%d points", n)
	}
	for i, want := range map[int]uint32{0: 0x62b4c3, 1: 0x6973fe, 400: 0x79037277, 799: 0xfff7d9d1} {
		if got := p.ring.hashes[i]; got != want {
			t.Errorf("point %d: %#x, want %#x", i, got, want)
		}
	}
	for key, want := range map[string]string{
		"":           "1986",
		"a":          "1986",
		"127.0.0.1":  "1985",
		"jack":       "1985",
		"10.1.2.3":   "1985",
		"/hello?x=1": "1985",
		"7f0c2e":     "1985",
		"sessionid":  "1986",
		"ключ":       "1986",
		"user-42":    "1985",
		"user-43":    "1986",
		"user-44":    "1985",
	} {
		if got := p.Pick(HashKey(key), nil).Addr; got != "127.0.0.1:"+want {
			t.Errorf("key %q: %s, want %s", key, got, want)
		}
	}
}

// The answers that APISIX's own suite expects of clients from 127.0.0.1.
func TestRingAsAPISIX(t *testing.T) {
	for _, c := range []struct {
		weights map[int]int
		want    string
	}{
		{map[int]int{1980: 1, 1981: 1}, "127.0.0.1:1980"},
		{map[int]int{1980: 1, 1981: 1, 1982: 1}, "127.0.0.1:1982"},
		{map[int]int{1980: 1, 1981: 0, 1982: 0}, "127.0.0.1:1980"},
	} {
		p := Kinds["chash"](local(c.weights, 1982, 1980, 1981))
		if e := p.Pick(HashKey("127.0.0.1"), nil); e.Addr != c.want {
			t.Errorf("%v: %s, want %s", c.weights, e.Addr, c.want)
		}
	}
}

// The distribution that lua-resty-balancer's own test has for weights 10, 2, 1.
func TestRingAsLibrary(t *testing.T) {
	eps := []*Endpoint{{Addr: "server1", Weight: 10}, {Addr: "server2", Weight: 2}, {Addr: "server3", Weight: 1}}
	p := Kinds["chash"](eps).(*chash)
	if n := len(p.ring.hashes); n != 2080 {
		t.Errorf("%d points", n)
	}
	got := map[string]int{}
	for i := 1; i <= 100*1000; i++ {
		got[p.Pick(HashKey(strconv.Itoa(i)), nil).Addr]++
	}
	for name, want := range map[string]int{"server1": 77075, "server2": 14743, "server3": 8182} {
		if got[name] != want {
			t.Errorf("%s: %d keys, want %d", name, got[name], want)
		}
	}
}

// A key moves only when its own server goes, and order of configuration does not matter.
func TestRingStability(t *testing.T) {
	eps := equal(10)
	all := Kinds["chash"](eps)
	less := Kinds["chash"](append(append([]*Endpoint{}, eps[6:]...), eps[:5]...)) // without eps[5], other order
	off := &chash{ring: all.(*chash).ring, off: make([]bool, 10)}
	off.off[5] = true
	count := map[*Endpoint]int{}
	for i := range 20000 {
		k := HashKey(fmt.Sprint("key-", i))
		e := all.Pick(k, nil)
		count[e]++
		if e != eps[5] {
			if less.Pick(k, nil) != e || off.Pick(k, nil) != e || all.Pick(k, eps[5:6]) != e {
				t.Fatalf("key %d moved away from %s", i, e.Addr)
			}
			continue
		}
		// Removed, down or tried: all lead to the same successor.
		next := less.Pick(k, nil)
		if off.Pick(k, nil) != next || all.Pick(k, eps[5:6]) != next {
			t.Fatalf("key %d: successors differ", i)
		}
	}
	for _, e := range eps {
		if count[e] < 1200 || count[e] > 2800 {
			t.Errorf("%s has %d of 20000 keys", e.Addr, count[e])
		}
	}
}

func TestRingBigWeights(t *testing.T) {
	p := Kinds["chash"](servers(1000000000, 2000000000, 1000000000)).(*chash)
	if n := len(p.ring.hashes); n != 4*160 {
		t.Errorf("%d points", n)
	}
	p = Kinds["chash"](servers(1000000007, 1, 0)).(*chash) // no common divisor
	if n := len(p.ring.hashes); n > maxPoints+2*pointsPerUnit || n < maxPoints/2 {
		t.Errorf("%d points", n)
	}
	if p := Kinds["chash"](servers(0, 0)); p.Pick(1, nil) != nil {
		t.Error("picked a server without points")
	}
}
