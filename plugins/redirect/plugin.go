// Package redirect answers with another address: a fixed one, one made of the
// request's, or the same by https.
package redirect

import (
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"sluice/plugins"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

// Plugin is redirect.
var Plugin = plugins.Spec{
	Name:     "redirect",
	Priority: 900,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	RetCode           int      `json:"ret_code"`
	URI               string   `json:"uri"`
	RegexURI          []string `json:"regex_uri"`
	HTTPToHTTPS       bool     `json:"http_to_https"`
	EncodeURI         bool     `json:"encode_uri"`
	AppendQueryString bool     `json:"append_query_string"`
}

// attributes are plugin_attr.redirect of config.yaml. Listening are the ports
// of apisix.ssl.listen, one of which is chosen when https_port is missing.
type attributes struct {
	HTTPSPort *int  `json:"https_port"`
	Listening []int `json:"listening"`
}

type redirect struct {
	config
	location location // of uri; nil: none
	regex    *expr.Template
	ports    []string // ":8443", or "" for the standard one; one is chosen

	answer, get, other *plugins.Reply
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	r := &redirect{config: *c, answer: plugins.Exit(c.RetCode, nil),
		get: plugins.Exit(301, nil), other: plugins.Exit(308, nil)}
	if c.HTTPToHTTPS && c.AppendQueryString {
		return plugins.Phases{}, errors.New("only one of `http_to_https` and `append_query_string` can be configured.")
	}
	if len(c.RegexURI) == 2 {
		re, err := expr.CompileRegex(c.RegexURI[0], "jo")
		if err == nil {
			r.regex, err = re.Template(c.RegexURI[1])
		}
		if err != nil {
			return plugins.Phases{}, fmt.Errorf("invalid regex_uri (%s, %s), err:%w", c.RegexURI[0], c.RegexURI[1], err)
		}
	}
	if c.URI != "" {
		r.location = parseLocation(c.URI)
	}
	var a attributes
	if err := plugins.Decode(env.Attr, &a); err != nil {
		return plugins.Phases{}, err
	}
	if a.HTTPSPort != nil {
		a.Listening = []int{*a.HTTPSPort}
	}
	for _, p := range a.Listening {
		r.ports = append(r.ports, portText(p))
	}
	return plugins.Phases{Rewrite: r.rewrite}, nil
}

func portText(p int) string {
	if p == 443 || p <= 0 || p > 65535 {
		return ""
	}
	return ":" + strconv.Itoa(p)
}

func (r *redirect) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if r.HTTPToHTTPS && cameBy(c) != "https" {
		return r.toHTTPS(c), nil
	}
	var to string
	switch {
	case r.location != nil:
		to = c.Keep(r.location.append(c.Scratch(), c))
	case r.regex != nil:
		replaced, ok := r.regex.Replace(c.Path)
		if !ok {
			return nil, nil
		}
		to = replaced
	default:
		return nil, nil
	}
	c.RespHeader.Set("Location", c.Keep(r.finish(c.Scratch(), c, to)))
	return r.answer, nil
}

// cameBy is the scheme that the client used, as far as we are told.
func cameBy(c *plugins.Ctx) string {
	if proto, ok := c.Req.Header.Lookup("X-Forwarded-Proto"); ok {
		return proto
	}
	return c.Var("scheme")
}

func (r *redirect) toHTTPS(c *plugins.Ctx) *plugins.Reply {
	port := ""
	if n := len(r.ports); n > 0 {
		port = r.ports[rand.IntN(n)]
	}
	b := append(c.Scratch(), "https://"...)
	b = append(b, c.Var("host")...)
	b = append(b, port...)
	target := c.Keep(append(b, c.Var("request_uri")...))
	c.RespHeader.Set("Location", c.Keep(r.finish(c.Scratch(), c, target)))
	if c.Req.Method == "GET" || c.Req.Method == "HEAD" {
		return r.get
	}
	return r.other
}

// finish writes the new address as it is sent: encoded and with the query as
// configured, and never with anything in it that ends a field.
func (r *redirect) finish(b []byte, c *plugins.Ctx, to string) []byte {
	query := strings.IndexByte(to, '?')
	if query < 0 {
		query = len(to)
	}
	if path := to[:query]; strings.HasPrefix(path, `/\`) {
		b = append(b, "/%5C"...) // browsers take it for a slash, and what follows two of them for a host
		b = appendEncoded(b, path[2:], r.EncodeURI)
	} else {
		b = appendEncoded(b, path, r.EncodeURI)
	}
	b = appendEncoded(b, to[query:], false)
	if r.AppendQueryString && c.Query != "" {
		if query < len(to) {
			b = append(b, '&')
		} else {
			b = append(b, '?')
		}
		b = appendEncoded(b, c.Query, false)
	}
	return b
}

// appendEncoded escapes control characters, and with all set whatever cannot
// stand in a path.
func appendEncoded(b []byte, s string, all bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		x := s[i]
		if x < ' ' || x == 0x7f || all && (x == ' ' || x > 0x7f || strings.IndexByte("\"#%<>?\\^`{|}", x) >= 0) {
			b = append(b, '%', digits[x>>4], digits[x&15])
		} else {
			b = append(b, x)
		}
	}
	return b
}
