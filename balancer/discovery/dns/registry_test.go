package dns

import (
	"context"
	"testing"

	"sluice/balancer"
	"sluice/configcenter/resource"
)

// A client is what the registry of package balancer asks.
func TestBehindRegistry(t *testing.T) {
	s := serve(t, "a.test. 60 A 10.0.0.1", "six.test. 60 AAAA fd00::1", "_x._tcp.test. 60 SRV 1 3 8080 a.test.")
	c, _ := client(t, s, Config{Order: []string{"last", "SRV", "A", "AAAA"}})
	r := balancer.NewRegistry(balancer.Options{Resolver: c})
	defer r.Close()
	for _, conf := range []balancer.Config{
		{Key: "names", Port: 80, Nodes: resource.Nodes{{Host: "a.test", Weight: 1}, {Host: "six.test", Weight: 1}, {Host: "no.test", Weight: 1}}},
		{Key: "service", Find: func(ctx context.Context) (balancer.Found, error) { return c.Nodes(ctx, "_x._tcp.test") }},
	} {
		set, err := r.Open(conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range set.Endpoints() {
			got += e.Addr + " " + e.Host + " "
		}
		if want := map[string]string{
			"names": "10.0.0.1:80 a.test [fd00::1]:80 six.test ", "service": "10.0.0.1:8080 10.0.0.1 ",
		}[conf.Key]; got != want {
			t.Errorf("%s: %s, want %s", conf.Key, got, want)
		}
		set.Close()
	}
}
