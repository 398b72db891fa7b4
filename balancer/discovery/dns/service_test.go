package dns

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The zone and the expectations follow APISIX's own suite of DNS discovery.
func TestNodes(t *testing.T) {
	s := serve(t,
		"sd.test. 60 A 127.0.0.1", "sd.test. 60 A 127.0.0.2", "six.test. 60 AAAA ::1",
		"mix.test. 60 A 127.0.0.1", "mix.test. 60 AAAA ::1",
		"A.test. 60 A 127.0.0.1", "B.test. 60 A 127.0.0.2", "C.test. 60 A 127.0.0.3", "C.test. 60 A 127.0.0.4",
		"srv.test. 60 SRV 10 60 1980 A.test.", "srv.test. 60 SRV 10 20 1980 B.test.",
		"_sip._tcp.srv.test. 60 SRV 10 60 1980 A.test.",
		"zero-weight.test. 60 SRV 10 60 1980 A.test.", "zero-weight.test. 60 SRV 10 0 1980 B.test.",
		"split.test. 60 SRV 10 100 1980 A.test.", "split.test. 60 SRV 10 0 1980 C.test.",
		"prio.test. 60 SRV 10 60 1979 A.test.", "prio.test. 30 SRV 20 60 1980 B.test.",
		"zero.test. 60 SRV 10 60 0 A.test.",
		"srv-a.test. 60 SRV 10 60 1980 A.test.", "srv-a.test. 60 A 127.0.0.1",
		"broken.test. 60 SRV 10 60 1980 nowhere.test.")
	order := []string{"last", "SRV", "A", "AAAA", "CNAME"}
	c, k := client(t, s, Config{Order: order})
	for _, x := range []struct{ service, want string }{
		{"sd.test:1980", "127.0.0.1:1980=1 127.0.0.2:1980=1"},
		{"six.test:1980", "::1:1980=1"},
		{"mix.test:1980", "127.0.0.1:1980=1"},
		{"mix.test", "127.0.0.1:0=1"},
		{"srv.test", "127.0.0.1:1980=60 127.0.0.2:1980=20"},
		{"_sip._tcp.srv.test", "127.0.0.1:1980=60"},
		{"srv.test:1999", "127.0.0.1:1999=60 127.0.0.2:1999=20"},
		{"zero-weight.test", "127.0.0.1:1980=60 127.0.0.2:1980=1"},
		{"split.test", "127.0.0.1:1980=200 127.0.0.3:1980=1 127.0.0.4:1980=1"},
		{"prio.test", "127.0.0.1:1979=60/-10 127.0.0.2:1980=60/-20"},
		{"zero.test", "127.0.0.1:0=60"},
		{"srv-a.test", "127.0.0.1:1980=60"},
	} {
		f, err := c.Nodes(t.Context(), x.service)
		var got []string
		for _, n := range f.Nodes {
			p := ""
			if strings.HasPrefix(x.service, "prio") {
				p = fmt.Sprint("/", n.Priority)
			}
			got = append(got, fmt.Sprintf("%s:%d=%d%s", n.Host, n.Port, n.Weight, p))
		}
		if out := strings.Join(got, " "); err != nil || out != x.want {
			t.Errorf("%s: %s, %v; want %s", x.service, out, err, x.want)
		}
	}
	if f, _ := c.Nodes(t.Context(), "prio.test"); f.Until.Sub(k.Now()) != 30*time.Second {
		t.Errorf("holds for %v", f.Until.Sub(k.Now()))
	}
	if _, err := c.Nodes(t.Context(), "none.test"); err == nil || !strings.HasPrefix(err.Error(), "failed to query the DNS server: ") {
		t.Errorf("%v", err)
	}
	if _, err := c.Nodes(t.Context(), "broken.test"); err == nil || !strings.HasPrefix(err.Error(), "failed to resolve SRV record nowhere.test.: ") {
		t.Errorf("%v", err)
	}
	c, _ = client(t, s, Config{Order: []string{"A", "SRV"}})
	if f, err := c.Nodes(t.Context(), "srv-a.test"); err != nil || len(f.Nodes) != 1 || f.Nodes[0].Port != 0 {
		t.Errorf("%v, %v", f, err)
	}
}
