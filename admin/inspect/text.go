package inspect

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// HashVars and HashHeader are what a chash key may be, by hash_on. The first lets through "[", "\" and the
// like after arg_, as the schema of APISIX does.
const (
	HashVars   = `^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$`
	HashHeader = `^[a-zA-Z0-9-_]+$`
)

var chashKeys = map[string]struct {
	text string
	re   *regexp.Regexp
}{
	"vars":   {HashVars, regexp.MustCompile(HashVars)},
	"header": {HashHeader, regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)},
	"cookie": {HashHeader, regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)},
}

// CheckHashKey checks the key of an upstream that hashes.
func CheckHashKey(up object) error {
	if up["type"] != "chash" {
		return nil
	}
	on, ok := up["hash_on"].(string)
	if !ok {
		on = "vars"
	}
	key, given := up["key"].(string)
	if on != "consumer" && !given {
		return errors.New("missing key")
	}
	if want, ok := chashKeys[on]; ok && !IsSecretRef(key) && !want.re.MatchString(key) {
		return errors.New("invalid configuration: failed to match pattern \"" + want.text + "\" with \"" + key + "\"")
	}
	return nil
}

// Port returns the port of "host:port" or "[v6]:port".
func Port(addr string) (int, bool) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || strings.HasSuffix(addr, "]") || addr[0] != '[' && strings.Count(addr, ":") > 1 ||
		addr[0] == '[' && addr[i-1] != ']' {
		return 0, false
	}
	port, err := strconv.Atoi(addr[i+1:])
	return port, err == nil
}

// IsNetwork says whether text is an address, or a network in CIDR form.
func IsNetwork(text string) bool {
	host, bits, masked := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil || !masked {
		return err == nil
	}
	n, err := strconv.Atoi(bits)
	return err == nil && n >= 0 && n <= addr.BitLen()
}

// IsSecretRef says whether a string stands for a secret kept elsewhere.
func IsSecretRef(s string) bool {
	return strings.HasPrefix(s, "$secret://") ||
		len(s) >= len("$env://") && strings.EqualFold(s[:len("$env://")], "$env://")
}

// HasSecretRef says whether a secret kept elsewhere stands in v: it cannot be
// resolved here, so what depends on its value cannot be checked.
func HasSecretRef(v any) bool {
	switch v := v.(type) {
	case string:
		return IsSecretRef(v)
	case object:
		for _, m := range v {
			if HasSecretRef(m) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, HasSecretRef)
	}
	return false
}
