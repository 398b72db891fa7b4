package dns

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

func readHosts(path string) (map[string][]netip.Addr, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseHosts(f)
}

// parseHosts reads a hosts file. Of a name's addresses the first IPv4 one counts,
// or the first IPv6 one if there is no other. Lines that are not of the form are
// left out, as the system's own resolver does.
func parseHosts(r io.Reader) (map[string][]netip.Addr, error) {
	hosts := map[string][]netip.Addr{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			if have := hosts[name]; len(have) == 0 || have[0].Is6() && ip.Is4() {
				hosts[name] = []netip.Addr{ip}
			}
		}
	}
	return hosts, lines.Err()
}
