package ipset

import (
	"net/netip"
	"testing"
)

func TestHas(t *testing.T) {
	s, err := Parse([]string{"127.0.0.1", "10.1.2.3/8", "::1", "fe80::/32", "::ffff:192.168.0.0/112", "::ffff:5.5.5.5"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.2": false, "10.200.0.1": true, "11.0.0.1": false,
		"::1": true, "::2": false, "fe80::1": true, "fe80::1%eth0": true, "fe81::1": false,
		"::ffff:10.0.0.1": true, "192.168.4.5": true, "192.169.0.1": false, "5.5.5.5": true,
	} {
		if got := s.Has(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Has(%s) = %v, want %v", addr, got, want)
		}
	}
	if s.Has(netip.Addr{}) {
		t.Error("the invalid address is in the set")
	}
}

func TestNil(t *testing.T) {
	s, err := Parse(nil)
	if s != nil || err != nil {
		t.Fatalf("Parse(nil) = %v, %v", s, err)
	}
	if s.Has(netip.MustParseAddr("127.0.0.1")) {
		t.Error("nil set has an address")
	}
}

func TestParseErrors(t *testing.T) {
	for _, bad := range []string{"", "10.0.0.0/99", "::1/129", "localhost", "1.2.3", "fe80::1%lo", "10.0.0.1/-1"} {
		if _, err := Parse([]string{bad}); err == nil || err.Error() != "invalid ip address: "+bad {
			t.Errorf("Parse(%q): %v", bad, err)
		}
	}
}

func BenchmarkHas(b *testing.B) {
	list := []string{"127.0.0.1", "10.0.0.0/8", "192.168.0.0/16", "::1", "2001:db8::/32"}
	s, err := Parse(list)
	if err != nil {
		b.Fatal(err)
	}
	a := netip.MustParseAddr("192.168.7.7")
	b.ReportAllocs()
	for b.Loop() {
		s.Has(a)
	}
}
