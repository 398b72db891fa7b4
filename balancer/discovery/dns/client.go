// Package dns resolves domain names for upstream nodes and finds services by
// their SRV, A or AAAA records. Answers are kept as long as their time to live
// says; an answer that ran out is still used while the name servers are down.
//
// It does not know upstreams or what becomes of the addresses.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"sluice/balancer"
)

// Config is how a Client asks.
type Config struct {
	Servers    []string      // "ip" or "ip:port"; empty: those of ResolvConf
	ResolvConf string        // path, also for search domains; empty: not read
	Hosts      string        // path of a hosts file, read once; empty: none
	Order      []string      // of last, SRV, A, AAAA, CNAME; empty: last, A, AAAA, CNAME
	Search     bool          // complete names by the search domains of ResolvConf
	NoIPv6     bool          // do not ask for AAAA
	Valid      time.Duration // instead of the records' time to live; 0: not
	Timeout    time.Duration // for one look-up, all tries included; 0: 5 s
	Max        int           // names kept; 0: 10,000
	Log        *slog.Logger
}

const (
	tryTimeout  = 2 * time.Second
	negativeTTL = 30 * time.Second // at most, for names that do not exist
	brokenTTL   = time.Second      // between look-ups while servers do not answer
	staleFor    = 24 * time.Hour   // an answer may be used without servers
	graceFor    = 30 * time.Second // Lookup gives an answer that ran out rather than wait
	udpSize     = 1232
	maxChain    = 8   // CNAMEs in a row
	atOnce      = 256 // look-ups under way; more wait their turn
)

// Client is a caching resolver. Safe for concurrent use.
type Client struct {
	conf   Config
	search []string
	ndots  int
	hosts  map[string][]netip.Addr
	types  []uint16 // 0: the type that worked last time
	now    func() time.Time

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // look-ups under way
	slots  chan struct{}  // one for each look-up under way
	server atomic.Uint32  // index of the server that answered last
	mu     sync.RWMutex   // guards closed and cache
	closed bool
	cache  map[string]*entry
}

var typeOf = map[string]uint16{
	"last": 0, "SRV": dns.TypeSRV, "A": dns.TypeA, "AAAA": dns.TypeAAAA, "CNAME": dns.TypeCNAME,
}

// New reads the files named in the configuration. The caller closes the client.
func New(c Config) (*Client, error) {
	if len(c.Order) == 0 {
		c.Order = []string{"last", "A", "AAAA", "CNAME"}
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Max <= 0 {
		c.Max = 10000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	cl := &Client{conf: c, ndots: 1, now: time.Now, cache: map[string]*entry{}, slots: make(chan struct{}, atOnce)}
	for _, name := range c.Order {
		t, ok := typeOf[name]
		if !ok {
			return nil, fmt.Errorf("dns order: unknown type %q", name)
		}
		if t != dns.TypeAAAA || !c.NoIPv6 {
			cl.types = append(cl.types, t)
		}
	}
	if err := cl.readFiles(); err != nil {
		return nil, err
	}
	if len(cl.conf.Servers) == 0 {
		return nil, errors.New("dns: no name servers")
	}
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	return cl, nil
}

func (c *Client) readFiles() error {
	if path := c.conf.ResolvConf; path != "" {
		rc, err := dns.ClientConfigFromFile(path)
		if err != nil {
			return fmt.Errorf("dns: resolv.conf %q: %w", path, err)
		}
		if len(c.conf.Servers) == 0 {
			c.conf.Servers = rc.Servers
		}
		if c.conf.Search {
			c.search, c.ndots = rc.Search, rc.Ndots
		}
	}
	servers := make([]string, 0, len(c.conf.Servers))
	for _, s := range c.conf.Servers {
		addr, err := serverAddr(s)
		if err != nil {
			return err
		}
		servers = append(servers, addr)
	}
	c.conf.Servers = servers
	if c.conf.Hosts != "" {
		hosts, err := readHosts(c.conf.Hosts)
		if err != nil {
			return fmt.Errorf("dns: hosts file: %w", err)
		}
		c.hosts = hosts
	}
	return nil
}

// serverAddr completes a name server's address by port 53.
func serverAddr(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.String(), nil
	}
	if host, port, err := net.SplitHostPort(s); err == nil && host != "" && port != "" {
		return s, nil // a name: the operating system finds it
	}
	return "", fmt.Errorf("dns: name server %q: not an address", s)
}

// Close gives up look-ups under way and waits for their end.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// Len is the number of names in memory.
func (c *Client) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.cache)
}

// Lookup returns the addresses of a host, sorted. It does not wait when it knows
// them: an answer that ran out recently is given while a new one is fetched. The
// slice must not be changed.
func (c *Client) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	a, err := c.get(ctx, host, graceFor)
	return a.addrs, a.need(host, err)
}

// Resolve is Lookup for those who can wait, and keep the answer until the time
// returned: it gives an answer that ran out only when no server gives another.
func (c *Client) Resolve(ctx context.Context, host string) ([]netip.Addr, time.Time, error) {
	a, err := c.get(ctx, host, 0)
	return a.addrs, a.until, a.need(host, err)
}

// need turns an answer without addresses into an error.
func (a *answer) need(host string, err error) error {
	if err == nil && len(a.addrs) == 0 {
		return fmt.Errorf("%w: %s has no address", balancer.ErrNotFound, host)
	}
	return err
}

// Addr returns one address of a host, the next one each time.
func (c *Client) Addr(ctx context.Context, host string) (netip.Addr, error) {
	a, err := c.get(ctx, host, graceFor)
	if err = a.need(host, err); err != nil {
		return netip.Addr{}, err
	}
	if a.turn == nil {
		return a.addrs[0], nil // a literal, or from the hosts file
	}
	return a.addrs[int(a.turn.Add(1)-1)%len(a.addrs)], nil
}

// names are the names to ask for, in order. A name is completed by the search
// domains before it is asked for as it is when it has few dots, else after.
func (c *Client) names(host string) []string {
	full := dns.Fqdn(host)
	if strings.HasSuffix(host, ".") || len(c.search) == 0 {
		return []string{full}
	}
	var list []string
	for _, s := range c.search {
		list = append(list, dns.Fqdn(host+"."+s))
	}
	if strings.Count(host, ".") >= c.ndots {
		return slices.Insert(list, 0, full)
	}
	return append(list, full)
}
