package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sluice/balancer"
)

func text(addrs []netip.Addr) string { return strings.Trim(fmt.Sprint(addrs), "[]") }

// want looks a host up and compares.
func want(t *testing.T, c *Client, host, addrs string) {
	t.Helper()
	got, _, err := c.Resolve(t.Context(), host)
	if text(got) != addrs || (err == nil) != (addrs != "") {
		t.Errorf("%s: %s, %v; want %s", host, text(got), err, addrs)
	}
}

func asked(t *testing.T, s *server, questions string) {
	t.Helper()
	if got := s.log(); got != questions {
		t.Errorf("asked %q, want %q", got, questions)
	}
}

func TestTypesInOrder(t *testing.T) {
	s := serve(t, "a.test. 60 A 10.0.0.2", "a.test. 60 A 10.0.0.1", "six.test. 60 AAAA ::1",
		"both.test. 60 A 127.0.0.1", "both.test. 60 AAAA ::1", "alias.test. 60 CNAME a.test.",
		"far.test. 5 CNAME alias.test.", "loop.test. 60 CNAME loop2.test.", "loop2.test. 60 CNAME loop.test.")
	c, k := client(t, s, Config{})
	want(t, c, "a.test", "10.0.0.1 10.0.0.2")
	want(t, c, "A.Test", "10.0.0.1 10.0.0.2")
	asked(t, s, "udp a.test. A")
	want(t, c, "six.test", "::1")
	asked(t, s, "udp six.test. A, udp six.test. AAAA")
	want(t, c, "both.test", "127.0.0.1")
	want(t, c, "alias.test", "10.0.0.1 10.0.0.2")
	want(t, c, "far.test", "10.0.0.1 10.0.0.2")
	want(t, c, "10.1.2.3", "10.1.2.3")
	want(t, c, "::2", "::2")
	s.log()
	want(t, c, "loop.test", "")
	s.log()
	want(t, c, "none.test", "")
	asked(t, s, "udp none.test. A") // does not exist: of no type

	k.add(61 * time.Second)
	s.log()
	want(t, c, "six.test", "::1")
	asked(t, s, "udp six.test. AAAA") // the type that worked last time

	c, _ = client(t, s, Config{NoIPv6: true})
	want(t, c, "six.test", "")
	c, _ = client(t, s, Config{Order: []string{"AAAA", "A"}})
	want(t, c, "both.test", "::1")
}

func TestTimeToLive(t *testing.T) {
	s := serve(t, "a.test. 300 A 10.0.0.1", "short.test. 1 A 10.0.0.1")
	c, k := client(t, s, Config{})
	want(t, c, "a.test", "10.0.0.1")
	_, until, _ := c.Resolve(t.Context(), "a.test")
	if d := until.Sub(k.Now()); d != 300*time.Second {
		t.Errorf("holds for %v", d)
	}
	s.set("a.test. 300 A 10.0.0.2")
	k.add(299 * time.Second)
	want(t, c, "a.test", "10.0.0.1")
	k.add(2 * time.Second)
	want(t, c, "a.test", "10.0.0.2")

	s.set("a.test. 300 A 10.0.0.1")
	c, k = client(t, s, Config{Valid: 900 * time.Second})
	want(t, c, "a.test", "10.0.0.1")
	s.set("a.test. 300 A 10.0.0.2")
	k.add(899 * time.Second)
	want(t, c, "a.test", "10.0.0.1")
	k.add(2 * time.Second)
	want(t, c, "a.test", "10.0.0.2")
}

func TestAbsenceIsRemembered(t *testing.T) {
	s := serve(t)
	c, k := client(t, s, Config{})
	_, _, err := c.Resolve(t.Context(), "a.test")
	if !errors.Is(err, balancer.ErrNotFound) {
		t.Errorf("%v", err)
	}
	s.set("a.test. 300 A 10.0.0.1")
	want(t, c, "a.test", "")
	asked(t, s, "udp a.test. A")
	k.add(negativeTTL + time.Second)
	want(t, c, "a.test", "10.0.0.1")

	soa, _ := dns.NewRR("test. 3600 SOA a. b. 1 2 3 4 5")
	s.change(func() { s.soa = soa }) // absence holds for 5 s
	want(t, c, "b.test", "")
	k.add(6 * time.Second)
	s.set("b.test. 300 A 10.0.0.1")
	want(t, c, "b.test", "10.0.0.1")

	s.set() // an address that is gone is not used any more
	k.add(301 * time.Second)
	want(t, c, "b.test", "")
}

func TestServersDown(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1")
	c, k := client(t, s, Config{})
	want(t, c, "a.test", "10.0.0.1")
	s.change(func() { s.rcode = dns.RcodeServerFailure })
	k.add(time.Hour)
	want(t, c, "a.test", "10.0.0.1") // the last answer
	_, until, err := c.Resolve(t.Context(), "a.test")
	if d := until.Sub(k.Now()); err != nil || d > brokenTTL {
		t.Errorf("holds for %v, %v", d, err)
	}
	_, _, err = c.Resolve(t.Context(), "b.test")
	if err == nil || errors.Is(err, balancer.ErrNotFound) || !strings.Contains(err.Error(), "dns server error: 2 SERVFAIL") {
		t.Errorf("%v", err)
	}
	s.log()
	want(t, c, "b.test", "")
	asked(t, s, "") // not at once again
	s.change(func() { s.rcode = 0 })
	s.set("a.test. 10 A 10.0.0.2")
	k.add(2 * time.Second)
	want(t, c, "a.test", "10.0.0.2")
	s.change(func() { s.rcode = dns.RcodeRefused })
	k.add(staleFor + time.Minute)
	want(t, c, "a.test", "") // not for ever
}

func TestLookupDoesNotWait(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1")
	c, k := client(t, s, Config{})
	lookup := func() string {
		a, err := c.Lookup(t.Context(), "a.test")
		if err != nil {
			t.Error(err)
		}
		return text(a)
	}
	if got := lookup(); got != "10.0.0.1" {
		t.Error(got)
	}
	gate := make(chan struct{})
	s.change(func() { s.gate = gate })
	s.set("a.test. 10 A 10.0.0.2")
	k.add(11 * time.Second)
	for range 3 { // ran out, and the server does not answer
		if got := lookup(); got != "10.0.0.1" {
			t.Error(got)
		}
	}
	s.change(func() { s.gate = nil })
	close(gate)
	want(t, c, "a.test", "10.0.0.2") // joins the look-up under way
	if n := strings.Count(s.log(), "a.test. A"); n != 2 {
		t.Errorf("%d questions", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Lookup(t.Context(), "a.test") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOneLookupForAll(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1")
	gate := make(chan struct{})
	s.change(func() { s.gate = gate })
	c, _ := client(t, s, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Lookup(ctx, "a.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gives up: %v", err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if a, err := c.Lookup(t.Context(), "a.test"); err != nil || text(a) != "10.0.0.1" {
				t.Errorf("%v, %v", a, err)
			}
		})
	}
	close(gate)
	wg.Wait()
	asked(t, s, "udp a.test. A")
}

func TestLongAnswersOverTCP(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1")
	s.change(func() { s.long = true })
	c, _ := client(t, s, Config{})
	want(t, c, "a.test", "10.0.0.1")
	asked(t, s, "udp a.test. A, tcp a.test. A")
}

func TestNextServer(t *testing.T) {
	bad, good := serve(t), serve(t, "a.test. 10 A 10.0.0.1")
	bad.change(func() { bad.rcode = dns.RcodeServerFailure })
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	c, _ := client(t, nil, Config{Servers: []string{closed.LocalAddr().String(), bad.addr, good.addr}})
	want(t, c, "a.test", "10.0.0.1")
	asked(t, bad, "udp a.test. A")
	want(t, c, "b.test", "") // begins with the one that answered
	asked(t, bad, "")
}

// A server that refuses questions with EDNS is asked again without.
func TestServerWithoutEDNS(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1")
	s.change(func() { s.plain = true })
	c, _ := client(t, s, Config{})
	want(t, c, "a.test", "10.0.0.1")
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 a b # c\n::1 a\n")
	f.Fuzz(func(t *testing.T, text string) {
		hosts, _ := parseHosts(strings.NewReader(text))
		for name, addrs := range hosts {
			if name != strings.ToLower(name) || len(addrs) != 1 || !addrs[0].IsValid() {
				t.Errorf("%q: %v", name, addrs)
			}
		}
	})
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSearchDomains(t *testing.T) {
	s := serve(t, "db.one.test. 10 A 10.0.0.1", "web.two.test. 10 A 10.0.0.2", "x.y. 10 A 10.0.0.3")
	conf := file(t, "nameserver 192.0.2.1\nsearch one.test two.test\noptions ndots:1\n")
	c, _ := client(t, s, Config{Servers: []string{s.addr}, ResolvConf: conf, Search: true})
	want(t, c, "db", "10.0.0.1")
	want(t, c, "web", "10.0.0.2")
	s.log()
	want(t, c, "x.y", "10.0.0.3")
	asked(t, s, "udp x.y. A") // has a dot: as it is first
	want(t, c, "db.", "")
	c, _ = client(t, s, Config{Servers: []string{s.addr}, ResolvConf: conf})
	want(t, c, "db", "")
	if c, err := New(Config{ResolvConf: conf}); err != nil || c.conf.Servers[0] != "192.0.2.1:53" {
		t.Errorf("%v", err)
	}
}

func TestHostsFile(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1")
	c, _ := client(t, s, Config{Hosts: file(t, "# comment\n::1 six local.test\n127.0.0.9 Local.test # x\nbad line\n")})
	want(t, c, "local.test", "127.0.0.9") // IPv4 goes first
	want(t, c, "six", "::1")
	want(t, c, "a.test", "10.0.0.1")
	asked(t, s, "udp a.test. A")
	if a, err := c.Addr(t.Context(), "local.test"); err != nil || a.String() != "127.0.0.9" {
		t.Errorf("%v, %v", a, err)
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	s := serve(t, "a.test. 10 A 10.0.0.1", "a.test. 10 A 10.0.0.2")
	c, _ := client(t, s, Config{})
	got := ""
	for range 4 {
		a, err := c.Addr(t.Context(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		got += a.String() + " "
	}
	if got != "10.0.0.1 10.0.0.2 10.0.0.1 10.0.0.2 " {
		t.Error(got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := serve(t)
	c, _ := client(t, s, Config{Max: 20})
	for i := range 200 {
		want(t, c, fmt.Sprintf("h%d.test", i), "")
	}
	if n := c.Len(); n > 20 {
		t.Errorf("%d names", n)
	}
}

func TestAnswerToAnotherQuestion(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := dns.NewRR("evil.test. 10 A 6.6.6.6")
	d := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{other}
		if q.Question[0].Name == "b.test." {
			m.Question[0].Name = "evil.test."
		}
		_ = w.WriteMsg(m)
	})}
	up := make(chan struct{})
	d.NotifyStartedFunc = func() { close(up) }
	go func() { _ = d.ActivateAndServe() }()
	<-up
	defer func() { _ = d.Shutdown() }()
	c, _ := client(t, nil, Config{Servers: []string{pc.LocalAddr().String()}})
	want(t, c, "a.test", "")
	want(t, c, "b.test", "")
}

func TestClose(t *testing.T) {
	s := serve(t)
	gate := make(chan struct{})
	s.change(func() { s.gate = gate })
	defer close(gate)
	c, _ := client(t, s, Config{})
	done := make(chan error)
	go func() { _, err := c.Lookup(t.Context(), "a.test"); done <- err }()
	<-s.waiting
	c.Close()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	if _, err := c.Lookup(t.Context(), "b.test"); !errors.Is(err, errClosed) {
		t.Errorf("%v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {Servers: []string{"not an address"}}, {Servers: []string{"127.0.0.1"}, Order: []string{"B"}},
		{ResolvConf: "/does/not/exist"}, {Servers: []string{"127.0.0.1"}, Hosts: "/does/not/exist"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	c, err := New(Config{Servers: []string{"127.0.0.1", "::1", "[::1]:5353", "127.0.0.1:53"}})
	if got := fmt.Sprint(c.conf.Servers); err != nil || got != "[127.0.0.1:53 [::1]:53 [::1]:5353 127.0.0.1:53]" {
		t.Errorf("%s, %v", got, err)
	}
}

func BenchmarkLookup(b *testing.B) {
	c, err := New(Config{Servers: []string{"127.0.0.1"}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	c.cache["a.test"] = &entry{known: true, answer: answer{
		addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, until: time.Now().Add(time.Hour),
	}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Lookup(context.Background(), "a.test"); err != nil {
				b.Error(err)
			}
		}
	})
}
