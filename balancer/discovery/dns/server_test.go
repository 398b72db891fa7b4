package dns

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// server is a name server in the process.
type server struct {
	addr string

	mu    sync.Mutex
	zone  map[string][]dns.RR // by name and type: "a.test. A"
	rcode int                 // answers every question, when not 0
	long  bool                // answers over UDP are truncated
	plain bool                // knows no EDNS
	soa   dns.RR              // goes with answers that have no record
	asked []string            // "udp a.test. A"
	gate  chan struct{}       // when not nil: answers wait for it

	waiting chan struct{} // gets one for a question that waits at the gate
}

func serve(t *testing.T, records ...string) *server {
	t.Helper()
	s := &server{waiting: make(chan struct{}, 1)}
	s.set(records...)
	var pc net.PacketConn
	var l net.Listener
	for range 20 { // one port free for both
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		_ = pc.Close()
	}
	if l == nil {
		t.Fatal("no port is free for UDP and TCP")
	}
	s.addr = pc.LocalAddr().String()
	for _, d := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: l, Handler: s}} {
		up := make(chan struct{})
		d.NotifyStartedFunc = func() { close(up) }
		go func() { _ = d.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = d.Shutdown() })
	}
	return s
}

func (s *server) set(records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = map[string][]dns.RR{}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		k := strings.ToLower(rr.Header().Name) + " " + dns.TypeToString[rr.Header().Rrtype]
		s.zone[k] = append(s.zone[k], rr)
	}
}

func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// log returns the questions since the last call.
func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.asked, ", ")
	s.asked = nil
	return out
}

func (s *server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	network := w.LocalAddr().Network()
	s.mu.Lock()
	name, t := q.Question[0].Name, dns.TypeToString[q.Question[0].Qtype]
	s.asked = append(s.asked, network+" "+name+" "+t)
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case s.waiting <- struct{}{}:
		default:
		}
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	name = strings.ToLower(name)
	exists := false
	for hops := 0; hops < 5; hops++ {
		for k := range s.zone {
			exists = exists || strings.HasPrefix(k, name+" ")
		}
		if rrs := s.zone[name+" "+t]; len(rrs) > 0 {
			m.Answer = append(m.Answer, rrs...)
			break
		}
		alias := s.zone[name+" CNAME"]
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, alias[0])
		name = alias[0].(*dns.CNAME).Target
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	if len(m.Answer) == 0 && s.soa != nil {
		m.Ns = []dns.RR{s.soa}
	}
	if s.rcode != 0 {
		m.Rcode, m.Answer = s.rcode, nil
	}
	if s.plain && q.IsEdns0() != nil {
		m.Rcode, m.Answer = dns.RcodeFormatError, nil
	}
	if s.long && network == "udp" {
		m.Truncated, m.Answer = true, nil
	}
	_ = w.WriteMsg(m)
}

// clock is a client's time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// client returns a client of the server whose time stands still.
func client(t *testing.T, s *server, conf Config) (*Client, *clock) {
	t.Helper()
	if len(conf.Servers) == 0 && conf.ResolvConf == "" {
		conf.Servers = []string{s.addr}
	}
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := &clock{now: time.Now()}
	c.now = k.Now
	return c, k
}
