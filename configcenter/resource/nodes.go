package resource

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// Nodes is a list of nodes. In JSON it is a list of objects, or a map from
// "host[:port]" to weight; a map is sorted by key so that the order, and with
// it the sequence of picks, is the same on every gateway.
type Nodes []Node

// UnmarshalJSON accepts both forms.
func (n *Nodes) UnmarshalJSON(b []byte) error {
	if t := bytes.TrimSpace(b); len(t) == 0 || t[0] != '{' {
		return json.Unmarshal(b, (*[]Node)(n))
	}
	var weights map[string]int
	if err := json.Unmarshal(b, &weights); err != nil {
		return err
	}
	*n = make(Nodes, 0, len(weights))
	for addr, w := range weights {
		host, port, err := splitNode(addr)
		if err != nil {
			return err
		}
		*n = append(*n, Node{Host: host, Port: port, Weight: w})
	}
	slices.SortFunc(*n, func(a, b Node) int {
		if c := strings.Compare(a.Host, b.Host); c != 0 {
			return c
		}
		return a.Port - b.Port
	})
	return nil
}

// splitNode splits "host", "host:port", "[v6]" and "[v6]:port". A bare IPv6
// address has no port.
func splitNode(s string) (host string, port int, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") || strings.Count(s, ":") > 1 && s[0] != '[' {
		return strings.Trim(s, "[]"), 0, nil
	}
	port, err = strconv.Atoi(s[i+1:])
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("node %q: invalid port %s", s, s[i+1:])
	}
	return strings.Trim(s[:i], "[]"), port, nil
}
