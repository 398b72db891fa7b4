// Package wolfrbac asks a wolf server whether a user may call what it calls, and
// offers the server's log-in to clients.
package wolfrbac

import (
	_ "embed"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
	"sluice/plugins/internal/httpout"
)

//go:embed schema.json
var schema string

const name = "wolf-rbac"

// Plugin is wolf-rbac.
var Plugin = plugins.Spec{
	Name:        name,
	Priority:    2555,
	Version:     "0.1",
	Auth:        true,
	Schema:      schema,
	Consumer:    schema,
	ConsumerKey: "appid",
	NewConsumer: plugins.DecodeConsumer[config],
	New:         plugins.Build(build),
	NewAPIs:     apis,
}

// config is of consumers. Routes may have it too, but only theirs counts.
type config struct {
	AppID        string `json:"appid"`
	Server       string `json:"server"`
	HeaderPrefix string `json:"header_prefix"`
	SSLVerify    bool   `json:"ssl_verify"`
}

const (
	checkTimeout = 10 * time.Second
	tries        = 3
	pause        = 100 * time.Millisecond // between them
)

// clients are those to call with, by whether certificates are verified.
type clients map[bool]*httpout.Client

func open(env *plugins.Env, timeout time.Duration) (clients, func()) {
	plain, free := httpout.Open(env.Shared, httpout.Options{Timeout: timeout})
	verifying, freeVerifying := httpout.Open(env.Shared, httpout.Options{Timeout: timeout, Verify: true})
	return clients{false: plain, true: verifying}, func() { free(); freeVerifying() }
}

func build(_ *config, env *plugins.Env) (plugins.Phases, error) {
	via, release := open(env, checkTimeout)
	return plugins.Phases{Rewrite: via.rewrite, Close: release}, nil
}

// refusal is the body of what is not let through.
type refusal struct {
	Message  string `json:"message,omitempty"`
	Username string `json:"username,omitempty"`
	Nickname string `json:"nickname,omitempty"`
}

func refuse(status int, message string) *plugins.Reply {
	return plugins.Exit(status, refusal{Message: message})
}

func (via clients) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	t, refused := tokenOf(c)
	if refused != nil {
		return refused, nil
	}
	if len(c.Find().ConsumersOf(name)) == 0 {
		return refuse(401, "Missing related consumer"), nil
	}
	found := c.Find().FindConsumer(name, t.appid)
	if found == nil {
		c.Log().Error("consumer [" + t.appid + "] not found")
		return refuse(401, "Invalid appid in rbac token"), nil
	}
	conf := found.Conf.(*config)
	v := via.check(c, conf, t)
	c.Log().Info("permission checked", "appid", t.appid, "status", v.status, "err", v.reason)
	v.user.show(c, conf.HeaderPrefix, v.status == 200)
	if v.status != 200 {
		c.Log().Error("no permission", "appid", t.appid, "status", v.status, "err", v.reason)
		return plugins.Exit(v.status, refusal{v.reason, v.user.username(), v.user.nickname()}), nil
	}
	consumer.Attach(c, found)
	return nil, nil
}

// verdict is what the server says of a request.
type verdict struct {
	status int
	reason string
	user   *user // nil: it does not say
}

// check asks the server whether the user may.
func (via clients) check(c *plugins.Ctx, conf *config, t token) verdict {
	query := url.Values{"appID": {t.appid}, "resName": {c.Path}, "action": {c.Req.Method},
		"clientIP": {c.Addr.Unmap().WithZone("").String()}}
	address := conf.Server + "/wolf/rbac/access_check?" + query.Encode()
	var answer *httpout.Answer
	c.Leave()
	for n := 1; ; n++ {
		var err error
		answer, err = via[conf.SSLVerify].Do(c, "GET", address, t.header(), nil)
		if err != nil {
			c.Log().Error("permission could not be checked", "err", err)
			return verdict{status: 500, reason: "request to wolf-server failed, err:" + cause(err)}
		}
		if answer.Status < 500 {
			break
		}
		if n == tries || c.Sleep(pause) != nil {
			return verdict{status: 500, reason: "request to wolf-server failed, status:" + strconv.Itoa(answer.Status)}
		}
	}
	var said *struct { // nil: null
		OK     *bool
		Reason string
		Data   data
	}
	var who *user
	readable := json.Unmarshal(answer.Body, &said) == nil && said != nil
	if readable && len(said.Data.UserInfo) > 0 && said.Data.UserInfo[0] == '{' {
		readable = plugins.Decode(said.Data.UserInfo, &who) == nil
	}
	if !readable {
		return verdict{status: unreadable(answer.Status), reason: "check permission failed! parse response json failed!"}
	}
	if answer.Status == 200 && said.OK != nil && !*said.OK {
		return verdict{status: 401, reason: said.Reason}
	}
	return verdict{answer.Status, said.Reason, who}
}

// unreadable is the status of an answer that cannot be read: never one that
// lets a request through.
func unreadable(status int) int {
	if status == 200 {
		return 500
	}
	return status
}

// cause is what a client may know of a call that failed: not where it went.
func cause(err error) string {
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return "closed"
}

// token is what a client shows: V1#appid#token-of-wolf.
type token struct{ appid, wolf string }

func (t token) header() http.Header {
	return http.Header{"X-Rbac-Token": {strings.Clone(t.wolf)}, "Content-Type": {"application/json; charset=utf-8"}}
}

// tokenOf reads the request's token, or says why it cannot.
func tokenOf(c *plugins.Ctx) (token, *plugins.Reply) {
	text, ok := c.Arg("rbac_token")
	for _, field := range [...]string{"Authorization", "X-Rbac-Token"} {
		if !ok {
			text, ok = c.Req.Header.Lookup(field)
		}
	}
	if !ok {
		text, ok = c.Cookie("x-rbac-token")
	}
	if !ok {
		c.Log().Info("no rbac token, login needed")
		return token{}, refuse(401, "Missing rbac token in request")
	}
	parts := strings.SplitN(text, "#", 3)
	if len(parts) != 3 || parts[0] != "V1" || !httpout.ValidField("X-Rbac-Token", parts[2]) {
		return token{}, refuse(401, "invalid rbac token: parse failed")
	}
	return token{parts[1], parts[2]}, nil
}
