package uri

import "strings"

// Host cuts the port off a Host field.
func Host(host string) string {
	for i := len(host) - 1; i >= 0; i-- {
		switch c := host[i]; {
		case c == ':':
			if host[0] == '[' && i > 0 && host[i-1] != ']' {
				return host // inside of an address
			}
			return host[:i]
		case c < '0' || c > '9':
			return host
		}
	}
	return host
}

// Bracketed puts an IPv6 address in brackets, as a Host field wants it (RFC
// 3986, 3.2.2).
func Bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

// DefaultPort is the port of an upstream's scheme.
func DefaultPort(scheme string) int {
	switch scheme {
	case "https", "grpcs":
		return 443
	}
	return 80
}
