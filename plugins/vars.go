package plugins

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
)

// Getter yields the value of one variable for a request. ok is false when the
// variable has no value there, which is not the same as an empty one.
type Getter func(*Ctx) (value string, ok bool)

// Appender is a Getter that writes the value behind dst, for those who build
// one text from many variables without allocating. Without a value it returns
// dst as it was, and false.
type Appender func(c *Ctx, dst []byte) ([]byte, bool)

// source is where a variable comes from. Exactly one of get and app is set:
// app where the text does not lie ready and has to be put together.
type source struct {
	get Getter
	app Appender
}

// Variable resolves a name once, when a version is compiled. A name that no
// request can have a value for yields a Getter that only knows what plugins
// set on the request. Values set by Ctx.SetVar win over everything.
func Variable(name string) Getter {
	s := resolve(name)
	return func(c *Ctx) (string, bool) {
		if len(c.vars) != 0 {
			if v, ok := c.vars[name]; ok {
				return v, true
			}
		}
		return s.value(c)
	}
}

// VariableAppender is Variable for texts made of many variables.
func VariableAppender(name string) Appender {
	s := resolve(name)
	return func(c *Ctx, dst []byte) ([]byte, bool) {
		if len(c.vars) != 0 {
			if v, ok := c.vars[name]; ok {
				return append(dst, v...), true
			}
		}
		if s.app != nil {
			return s.app(c, dst)
		}
		v, ok := s.get(c)
		return append(dst, v...), ok
	}
}

// BuiltinAppender is VariableAppender without a look at what SetVar set: for
// writers of many values, who ask Ctx.HasVars once and then use the one or the
// other. plain says that the value is made of numbers and addresses, whatever the
// request is like, so that nothing in it needs escaping.
func BuiltinAppender(name string) (value Appender, plain bool) {
	s := resolve(name)
	if s.app == nil {
		get := s.get
		s.app = func(c *Ctx, dst []byte) ([]byte, bool) {
			v, ok := get(c)
			return append(dst, v...), ok
		}
	}
	return s.app, numeric[name]
}

// numeric are the variables whose built-in values are plain.
var numeric = map[string]bool{
	"remote_addr": true, "remote_port": true, "server_addr": true, "server_port": true,
	"status": true, "bytes_sent": true, "body_bytes_sent": true, "request_length": true, "request_time": true,
	"upstream_status": true, "upstream_connect_time": true, "upstream_header_time": true,
	"upstream_response_time": true, "apisix_upstream_response_time": true,
}

// CheckVariable reports whether name can be resolved: a post_arg path that is
// not a JSONPath is an error. Unknown names are none, plugins may set them.
func CheckVariable(name string) error {
	path, ok := strings.CutPrefix(name, postArgPath)
	if !ok {
		return nil
	}
	_, err := parseBodyPath(path)
	return err
}

// LookupVar is Variable for a name that is known only now. Prefer Variable.
func (c *Ctx) LookupVar(name string) (value string, ok bool) {
	if v, ok := c.vars[name]; ok {
		return v, true
	}
	for i := range prefixes {
		if rest, ok := strings.CutPrefix(name, prefixes[i].text); ok {
			return prefixes[i].find(c, rest)
		}
	}
	return builtins[name].value(c)
}

// Var is LookupVar for those who take an absent value for an empty one.
func (c *Ctx) Var(name string) string {
	v, _ := c.LookupVar(name)
	return v
}

// prefix is a family of variables: the rest of the name is an argument.
type prefix struct {
	text string
	// find looks rest up now; bind prepares rest for many look-ups.
	find func(c *Ctx, rest string) (string, bool)
	bind func(rest string) Getter
}

func resolve(name string) source {
	for i := range prefixes {
		if rest, ok := strings.CutPrefix(name, prefixes[i].text); ok {
			return source{get: prefixes[i].getter(rest)}
		}
	}
	if s, ok := builtins[name]; ok {
		return s
	}
	return source{get: absent}
}

func (p *prefix) getter(rest string) Getter {
	if p.bind != nil {
		return p.bind(rest)
	}
	find := p.find
	return func(c *Ctx) (string, bool) { return find(c, rest) }
}

func absent(*Ctx) (string, bool) { return "", false }

// value is the text of s; the zero source has none.
func (s source) value(c *Ctx) (string, bool) {
	if s.get != nil {
		return s.get(c)
	}
	if s.app == nil {
		return "", false
	}
	b, ok := s.app(c, c.memo.scratch[:0])
	c.memo.scratch = b[:0]
	if !ok {
		return "", false
	}
	return string(b), true
}

// memo is what variables keep on a request so that it is made once. Texts of
// addresses and ports carry what they are the text of: they stay right, and
// stay, over all requests of a connection.
type memo struct {
	client, peer, local addrText
	clientPort, ourPort portText
	scratch, scratch2   []byte // of single variables; of templates
	id                  [32]byte
	hasID               bool
	body                *bodyTable
	graphql             *graphQL
}

type addrText struct {
	of   netip.Addr
	text string
}

type portText struct {
	of   uint16
	text string
}

// next readies m for the connection's next request.
func (m *memo) next() memo {
	return memo{client: m.client, peer: m.peer, local: m.local,
		clientPort: m.clientPort, ourPort: m.ourPort, scratch: m.scratch, scratch2: m.scratch2}
}

func (t *addrText) get(a netip.Addr) (string, bool) {
	if !a.IsValid() {
		return "", false
	}
	if t.of != a || t.text == "" {
		*t = addrText{a, a.Unmap().WithZone("").String()}
	}
	return t.text, true
}

func (t *portText) get(p uint16) (string, bool) {
	if p == 0 {
		return "", false
	}
	if t.of != p || t.text == "" {
		*t = portText{p, strconv.Itoa(int(p))}
	}
	return t.text, true
}

// ID is the id of the request: the one a plugin gave it (RequestID), or 32
// random hexadecimal digits made on first use.
func (c *Ctx) ID() string {
	if c.RequestID == "" {
		c.RequestID = string(c.AppendID(nil))
	}
	return c.RequestID
}

// AppendID is ID without making a string of it.
func (c *Ctx) AppendID(dst []byte) []byte {
	if c.RequestID != "" {
		return append(dst, c.RequestID...)
	}
	if !c.memo.hasID {
		const digits = "0123456789abcdef"
		for i := 0; i < len(c.memo.id); i += 16 {
			n := rand.Uint64()
			for j := range 16 {
				c.memo.id[i+j] = digits[n&15]
				n >>= 4
			}
		}
		c.memo.hasID = true
	}
	return append(dst, c.memo.id[:]...)
}
