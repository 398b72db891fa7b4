package conf

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// parseTime reads nginx's times: "60s", "1h30m", "10ms", and a bare number of seconds.
func parseTime(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if !(f >= 0 && f <= math.MaxInt32) { // also not NaN
			return 0, errors.New("a number of seconds from 0 to 2147483647 is wanted")
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	var total time.Duration
	rest := strings.ReplaceAll(s, " ", "")
	if rest == "" {
		return 0, errors.New("a time such as 60s is wanted")
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		if err != nil {
			return 0, errors.New("a time such as 60s is wanted")
		}
		unit := time.Second
		rest = rest[digits:]
		for _, u := range timeUnits {
			if after, ok := strings.CutPrefix(rest, u.name); ok {
				unit, rest = u.d, after
				break
			}
		}
		total += time.Duration(n) * unit
		if rest != "" && (rest[0] < '0' || rest[0] > '9') {
			return 0, fmt.Errorf("unknown unit of time %q", rest)
		}
	}
	return total, nil
}

// timeUnits holds ms before m: the first match counts.
var timeUnits = []struct {
	name string
	d    time.Duration
}{
	{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute},
	{"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
	{"M", 30 * 24 * time.Hour}, {"y", 365 * 24 * time.Hour},
}

// parseSize reads "4096", "50m" and "1G".
func parseSize(s string) (Size, error) {
	digits, unit := s, int64(1)
	if s != "" {
		switch s[len(s)-1] | 0x20 {
		case 'k':
			unit = 1 << 10
		case 'm':
			unit = 1 << 20
		case 'g':
			unit = 1 << 30
		}
		if unit > 1 {
			digits = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, errors.New("a size such as 4096, 50m or 1g is wanted")
	}
	return Size(n * unit), nil
}

// parseNetwork reads an address or a network.
func parseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, errors.New("an IP address or a network such as 10.0.0.0/8 is wanted")
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Networks reads a checked list of addresses and networks, as RealIPFrom is;
// entries of another kind ("unix:") are left out.
func Networks(list []string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		if p, err := parseNetwork(s); err == nil {
			ps = append(ps, p)
		}
	}
	return ps
}
