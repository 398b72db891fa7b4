package wolfrbac

import (
	"encoding/json"
	"net/url"
	"strings"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

// user is what the server tells about a user.
type user map[string]any

// text is a member as text: names and numbers.
func (u *user) text(member string) string {
	if u == nil {
		return ""
	}
	switch v := (*u)[member].(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		b, _ := json.Marshal(v) // it came from JSON
		return string(b)
	}
}

func (u *user) username() string { return u.text("username") }

func (u *user) nickname() string {
	if n := u.text("nickname"); n != "" {
		return n
	}
	return u.username()
}

// show tells the client, and the upstream when the user may, who the user is.
// What the client said of it is dropped in any case. The upstream of a refused
// user is there only when another plugin lets the request in, as somebody else.
func (u *user) show(c *plugins.Ctx, prefix string, may bool) {
	if u != nil {
		c.SetValue(plugins.Field("userInfo"), map[string]any(*u))
	}
	for _, f := range [...]struct{ name, value string }{
		{"UserId", u.text("id")}, {"Username", u.username()}, {"Nickname", escape(u.nickname())},
	} {
		consumer.Drop(&c.Req.Header, prefix+f.name)
		if f.value == "" {
			continue
		}
		if may {
			c.Req.Header.Add(prefix+f.name, f.value)
		}
		c.RespHeader.Set(prefix+f.name, f.value)
	}
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
