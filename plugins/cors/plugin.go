// Package cors answers preflight requests and tells browsers which origins may
// read a response.
package cors

import (
	_ "embed"
	"errors"
	"strconv"

	"sluice/plugins"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is cors.
var Plugin = plugins.Spec{
	Name:     "cors",
	Priority: 4000,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	AllowOrigins              string   `json:"allow_origins"`
	AllowMethods              string   `json:"allow_methods"`
	AllowHeaders              string   `json:"allow_headers"`
	ExposeHeaders             string   `json:"expose_headers"`
	MaxAge                    int64    `json:"max_age"`
	AllowCredential           bool     `json:"allow_credential"`
	AllowOriginsByRegex       []string `json:"allow_origins_by_regex"`
	AllowOriginsByMetadata    []string `json:"allow_origins_by_metadata"`
	TimingAllowOrigins        string   `json:"timing_allow_origins"`
	TimingAllowOriginsByRegex []string `json:"timing_allow_origins_by_regex"`
}

type metadata struct {
	AllowOrigins map[string]string `json:"allow_origins"`
}

const (
	anyValue   = "*"
	forced     = "**"
	allMethods = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"
)

type sharing struct {
	config
	methods, age string
	vary         bool
	origins      rule   // by list or regular expression; nil: none is allowed by them
	byMetadata   []rule // of the names that the metadata has
	timing       rule
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	if c.AllowCredential && (c.AllowOrigins == anyValue || c.AllowMethods == anyValue ||
		c.AllowHeaders == anyValue || c.ExposeHeaders == anyValue || c.TimingAllowOrigins == anyValue) {
		return plugins.Phases{}, errors.New("you can not set '*' for other option when 'allow_credential' is true")
	}
	s := &sharing{config: *c, methods: c.AllowMethods, age: strconv.FormatInt(c.MaxAge, 10),
		vary: c.AllowOrigins != anyValue}
	if c.AllowMethods == forced {
		s.methods = allMethods
	}
	var err error
	if s.origins, err = newRule(c.AllowOrigins, c.AllowOriginsByRegex); err != nil {
		return plugins.Phases{}, err
	}
	if s.timing, err = newRule(c.TimingAllowOrigins, c.TimingAllowOriginsByRegex); err != nil {
		return plugins.Phases{}, err
	}
	var md metadata
	if err := plugins.Decode(env.Metadata, &md); err != nil {
		return plugins.Phases{}, err
	}
	for _, name := range c.AllowOriginsByMetadata {
		if list := md.AllowOrigins[name]; list != "" {
			s.byMetadata = append(s.byMetadata, newList(list))
		}
	}
	return plugins.Phases{Rewrite: s.rewrite, HeaderFilter: s.headerFilter}, nil
}

// rewrite keeps the Origin as the client sent it, for later plugins may change it.
func (s *sharing) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if origin := c.Req.Header.Get("Origin"); origin != "" {
		c.SetValue(s, origin)
	}
	if c.Req.Method == "OPTIONS" {
		return plugins.Exit(200, nil), nil
	}
	return nil, nil
}

func (s *sharing) headerFilter(c *plugins.Ctx) error {
	origin, _ := c.Value(s).(string)
	allowed := s.allowed(origin)
	h := &c.Resp.Header
	if s.vary {
		h.Add("Vary", "Origin")
	}
	if allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
		h.Set("Access-Control-Allow-Methods", s.methods)
		h.Set("Access-Control-Max-Age", s.age)
		if s.ExposeHeaders != "" {
			h.Set("Access-Control-Expose-Headers", s.ExposeHeaders)
		}
		if s.AllowHeaders != forced {
			h.Set("Access-Control-Allow-Headers", s.AllowHeaders)
		} else if asked := c.Req.Header.Get("Access-Control-Request-Headers"); asked != "" {
			h.Set("Access-Control-Allow-Headers", asked)
		} else {
			h.Del("Access-Control-Allow-Headers")
		}
		if s.AllowCredential {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	}
	if s.timing != nil {
		if t := s.timing(origin); t != "" {
			h.Set("Timing-Allow-Origin", t)
		}
	}
	return nil
}

// allowed is the value of Access-Control-Allow-Origin, "" when origin may not
// read the response. Names of the metadata come first; the list or expression
// of the configuration stands in for them only when it was set to something.
func (s *sharing) allowed(origin string) string {
	if s.AllowOriginsByMetadata == nil {
		return s.origins(origin)
	}
	if origin == "" {
		return ""
	}
	for _, r := range s.byMetadata {
		if r(origin) != "" {
			return origin
		}
	}
	if s.AllowOrigins == anyValue {
		return ""
	}
	return s.origins(origin)
}

// rule yields what to answer to an origin ("" for a request without), "" for no.
type rule func(origin string) string

// newRule prefers expressions to the list; nil when there is neither.
func newRule(list string, expressions []string) (rule, error) {
	if len(expressions) == 0 {
		if list == "" {
			return nil, nil
		}
		return newList(list), nil
	}
	rs := make([]*expr.Regex, len(expressions))
	for i, e := range expressions {
		r, err := expr.CompileRegex(e, "")
		if err != nil {
			return nil, err
		}
		rs[i] = r
	}
	return func(origin string) string {
		if origin == "" {
			return ""
		}
		for _, r := range rs {
			if r.Match(origin) {
				return origin
			}
		}
		return ""
	}, nil
}
