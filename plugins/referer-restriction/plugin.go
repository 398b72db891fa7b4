// Package refererrestriction lets a request through, or not, by the host of its Referer.
package refererrestriction

import (
	_ "embed"
	"strings"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is referer-restriction.
var Plugin = plugins.Spec{
	Name:     "referer-restriction",
	Priority: 2990,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	BypassMissing bool     `json:"bypass_missing"`
	Whitelist     []string `json:"whitelist"`
	Blacklist     []string `json:"blacklist"`
	Message       string   `json:"message"`
}

type restriction struct {
	config
	list  hosts
	allow bool // list is of those who may
	reply *plugins.Reply
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	r := &restriction{config: *c, allow: c.Whitelist != nil, reply: plugins.Exit(403, plugins.Message{Message: c.Message})}
	r.list = newHosts(c.Blacklist)
	if r.allow {
		r.list = newHosts(c.Whitelist)
	}
	return plugins.Phases{Access: r.access}, nil
}

func (r *restriction) access(c *plugins.Ctx) (*plugins.Reply, error) {
	passed := r.BypassMissing
	if host := hostOf(c.Req.Header.Get("Referer")); host != "" {
		passed = r.list.have(host) == r.allow
	}
	if !passed {
		return r.reply, nil
	}
	return nil, nil
}

// hosts are names, in lower case, and ends of names.
type hosts struct {
	exact    map[string]bool
	suffixes []string
}

func newHosts(list []string) hosts {
	h := hosts{exact: map[string]bool{}}
	for _, name := range list {
		name = strings.ToLower(name)
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			h.suffixes = append(h.suffixes, suffix)
		} else {
			h.exact[name] = true
		}
	}
	return h
}

func (h *hosts) have(host string) bool {
	host = strings.ToLower(host)
	if h.exact[host] {
		return true
	}
	for _, suffix := range h.suffixes {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// hostOf is the host of an http or https URI, with the brackets of an address;
// "" when it has none that everybody reads the same: user information in front
// of it makes it doubtful.
func hostOf(uri string) string {
	scheme, rest, ok := strings.Cut(uri, "//")
	if !ok || scheme != "" && scheme != "http:" && scheme != "https:" {
		return ""
	}
	if i := strings.IndexAny(rest, `/?#\`); i >= 0 {
		rest = rest[:i]
	}
	if strings.Contains(rest, "@") {
		return ""
	}
	if strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		return rest[:end+1]
	}
	host, _, _ := strings.Cut(rest, ":")
	return host
}
