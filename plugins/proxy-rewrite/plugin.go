// Package proxyrewrite changes the request that goes upstream: its path, query,
// host, method and header.
package proxyrewrite

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"sluice/plugins"
	"sluice/plugins/internal/headerop"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

// Plugin is proxy-rewrite.
var Plugin = plugins.Spec{
	Name:     "proxy-rewrite",
	Priority: 1008,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	URI      string   `json:"uri"`
	Method   string   `json:"method"`
	RegexURI []string `json:"regex_uri"`
	Host     string   `json:"host"`
	Headers  headers  `json:"headers"`
	Unsafe   bool     `json:"use_real_request_uri_unsafe"`
}

type rewriter struct {
	host, method string
	unsafe       bool
	uri          *plugins.Template // nil: none configured
	fixed        string            // uri, when it has no variables
	regex        []substitution    // used without uri
	headers      headerop.Operations
}

type substitution struct {
	match *expr.Regex
	with  *expr.Template
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	r := &rewriter{host: c.Host, method: c.Method, unsafe: c.Unsafe}
	var err error
	if r.regex, err = compile(c.RegexURI); err != nil {
		return plugins.Phases{}, err
	}
	if c.URI != "" {
		if r.uri, err = plugins.ParseTemplate(c.URI); err != nil {
			return plugins.Phases{}, err
		}
		if !r.uri.HasVars() {
			r.fixed = c.URI
		}
	}
	if err := c.Headers.compile(&r.headers); err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Rewrite: r.rewrite}, nil
}

func compile(pairs []string) ([]substitution, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("The length of regex_uri should be an even number")
	}
	var list []substitution
	for i := 0; i < len(pairs); i += 2 {
		re, err := expr.CompileRegex(pairs[i], "jo")
		var with *expr.Template
		if err == nil {
			with, err = re.Template(pairs[i+1])
		}
		if err != nil {
			return nil, fmt.Errorf("invalid regex_uri(%s, %s): %w", pairs[i], pairs[i+1], err)
		}
		list = append(list, substitution{re, with})
	}
	return list, nil
}

func (r *rewriter) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if r.host != "" {
		c.UpstreamHost = r.host
	}
	uri, own, captures := r.target(c)
	if !r.unsafe && r.fixed == "" && climbs(uri) {
		c.Log().Warn("a rewritten path with dot segments would be another one to the upstream, request refused", "uri", uri)
		return &plugins.Reply{Status: 400}, nil
	}
	c.UpstreamURI = uri
	if !r.unsafe {
		c.Rewritten = uri[:own]
	}
	r.headers.Apply(c, &c.Req.Header, captures)
	if r.method != "" {
		c.Req.Method = r.method
	}
	return nil, nil
}

// target is what to ask the upstream for, fit for a request line, how many bytes
// of it stand before the client's query, and what the matching expression captured.
func (r *rewriter) target(c *plugins.Ctx) (uri string, own int, captures []string) {
	if r.unsafe {
		uri, captures = r.rawTarget(c)
		return uri, len(uri), captures
	}
	// A "?" that is part of the path must not begin a query: it counts as one
	// only in what the configuration wrote.
	split := false
	uri = c.Path
	switch {
	case r.uri != nil:
		split = true
		uri = r.newURI(c)
	case r.regex != nil:
		split = !strings.Contains(uri, "?")
		uri, captures = r.substitute(uri)
	}
	query := ""
	at := -1
	if split {
		at = strings.IndexByte(uri, '?')
	}
	if at >= 0 {
		uri, query = uri[:at], uri[at:]
	}
	b := appendPath(c.Scratch(), uri)
	b = appendVisible(b, query)
	own = len(b)
	if c.Query != "" {
		if at >= 0 {
			b = append(b, '&')
		} else {
			b = append(b, '?')
		}
		b = appendVisible(b, c.Query)
	}
	return c.Keep(b), own, captures
}

// rawTarget is target over what the client wrote, escapes and all.
func (r *rewriter) rawTarget(c *plugins.Ctx) (uri string, captures []string) {
	uri = c.Req.Target
	switch {
	case r.uri != nil:
		_, query, has := strings.Cut(uri, "?")
		uri = r.newURI(c)
		if has && strings.Contains(uri, "?") {
			uri += "&" + query
		} else if has {
			uri += "?" + query
		}
	case r.regex != nil:
		uri, captures = r.substitute(uri)
	}
	return c.Keep(appendVisible(appendSlash(c.Scratch(), uri), uri)), captures
}

func (r *rewriter) newURI(c *plugins.Ctx) string {
	if r.fixed != "" {
		return r.fixed
	}
	uri, _ := r.uri.RenderEscaped(c, escapeQuestion)
	return uri
}

// substitute applies the first pair that matches. The captures are made only
// for header values that mention one.
func (r *rewriter) substitute(uri string) (out string, captures []string) {
	for i := range r.regex {
		s := &r.regex[i]
		out, ok := s.with.Replace(uri)
		if !ok {
			continue
		}
		if r.headers.UseCaptures() {
			captures = groups(uri, s.match.FindSubmatchIndex(uri))
		}
		return out, captures
	}
	return uri, nil
}

// groups cuts the captures at places out of s.
func groups(s string, places []int) []string {
	list := make([]string, len(places)/2)
	for i := range list {
		if places[2*i] >= 0 {
			list[i] = s[places[2*i]:places[2*i+1]]
		}
	}
	return list
}
