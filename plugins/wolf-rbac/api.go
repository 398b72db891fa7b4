package wolfrbac

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"sluice/plugins"
)

const (
	callTimeout = 5 * time.Second
	maxBody     = 1 << 20
)

// apis are the server's log-in, change of password and user information.
func apis(env *plugins.Env) ([]plugins.API, error) {
	via, _ := open(env, callTimeout) // for as long as the process
	return []plugins.API{
		{Methods: []string{"POST"}, Path: "/apisix/plugin/wolf-rbac/login", Serve: via.login},
		{Methods: []string{"PUT"}, Path: "/apisix/plugin/wolf-rbac/change_pwd", Serve: via.changePassword},
		{Methods: []string{"GET"}, Path: "/apisix/plugin/wolf-rbac/user_info", Serve: via.userInfo},
	}, nil
}

// granted is the body of what was done.
type granted struct {
	Message   string          `json:"message,omitempty"`
	RBACToken string          `json:"rbac_token,omitempty"`
	UserInfo  json.RawMessage `json:"user_info,omitempty"`
}

func (via clients) login(c *plugins.Ctx) (*plugins.Reply, error) {
	args, refused := arguments(c)
	switch {
	case refused != nil:
		return refused, nil
	case args == nil:
		return refuse(400, "invalid request"), nil
	case args["appid"] == nil:
		return refuse(400, "appid is missing"), nil
	}
	appid, _ := args["appid"].(string)
	conf, refused := consumerOf(c, appid)
	if refused != nil {
		return refused, nil
	}
	said, refused := via.ask(c, conf, "POST", "/wolf/rbac/login.rest", token{}, args)
	if refused != nil {
		return refused, nil
	}
	return plugins.Exit(200, granted{RBACToken: "V1#" + appid + "#" + said.Data.Token, UserInfo: said.Data.UserInfo}), nil
}

func (via clients) changePassword(c *plugins.Ctx) (*plugins.Reply, error) {
	args, refused := arguments(c)
	if refused != nil {
		return refused, nil
	}
	t, conf, refused := known(c)
	if refused != nil {
		return refused, nil
	}
	if _, refused := via.ask(c, conf, "POST", "/wolf/rbac/change_pwd", t, args); refused != nil {
		return refused, nil
	}
	return plugins.Exit(200, granted{Message: "success to change password"}), nil
}

func (via clients) userInfo(c *plugins.Ctx) (*plugins.Reply, error) {
	t, conf, refused := known(c)
	if refused != nil {
		return refused, nil
	}
	said, refused := via.ask(c, conf, "GET", "/wolf/rbac/user_info", t, map[string]any{})
	if refused != nil {
		return refused, nil
	}
	return plugins.Exit(200, granted{UserInfo: said.Data.UserInfo}), nil
}

// known is the token of a request and the consumer that it is of.
func known(c *plugins.Ctx) (token, *config, *plugins.Reply) {
	t, refused := tokenOf(c)
	if refused != nil {
		return t, nil, refused
	}
	conf, refused := consumerOf(c, t.appid)
	return t, conf, refused
}

func consumerOf(c *plugins.Ctx, appid string) (*config, *plugins.Reply) {
	if len(c.Find().ConsumersOf(name)) == 0 {
		return nil, plugins.Exit(500, nil)
	}
	found := c.Find().FindConsumer(name, appid)
	if found == nil {
		c.Log().Info("appid not found", "appid", appid)
		return nil, refuse(400, "appid not found")
	}
	return found.Conf.(*config), nil
}

// said is an answer of the server.
type said struct {
	OK     bool
	Reason string
	Data   data
}

// data may be an empty list, which is how Lua writes an empty table.
type data struct {
	Token    string
	UserInfo json.RawMessage
}

// UnmarshalJSON takes what is no object for one without members.
func (d *data) UnmarshalJSON(text []byte) error {
	type plain data
	if len(text) == 0 || text[0] != '{' {
		return nil
	}
	return json.Unmarshal(text, (*plain)(d))
}

// ask calls the server. Its reasons are for the log.
func (via clients) ask(c *plugins.Ctx, conf *config, method, path string, t token, args map[string]any) (*said, *plugins.Reply) {
	failed := func(status int, why error) (*said, *plugins.Reply) {
		c.Log().Error("request to wolf-server failed", "path", path, "err", why)
		return nil, refuse(status, "request to wolf-server failed!")
	}
	body, err := json.Marshal(args)
	if err != nil {
		return failed(500, err)
	}
	c.Leave()
	header := t.header()
	if t.wolf == "" {
		header.Del("X-Rbac-Token")
	}
	answer, err := via[conf.SSLVerify].Do(c, method, conf.Server+path, header, body)
	if err != nil {
		return failed(500, err)
	}
	if answer.Status != 200 {
		return failed(500, errors.New("an answer that is not 200"))
	}
	var s said
	if err := json.Unmarshal(answer.Body, &s); err != nil {
		return failed(500, err)
	}
	if !s.OK {
		return failed(200, errors.New(s.Reason))
	}
	return &s, nil
}

// arguments are those of the request's body, JSON or a form; nil when it has none.
func arguments(c *plugins.Ctx) (map[string]any, *plugins.Reply) {
	body, err := c.Body(maxBody)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		return nil, refuse(413, tooLarge.Error())
	}
	if err != nil {
		return nil, refuse(400, "invalid request")
	}
	if strings.Contains(c.Req.Header.Get("Content-Type"), "application/json") {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var args map[string]any
		if d.Decode(&args) != nil {
			return nil, nil
		}
		return args, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, nil
	}
	args := make(map[string]any, len(form))
	for name, values := range form {
		if len(values) == 1 {
			args[name] = values[0]
		} else {
			args[name] = values
		}
	}
	return args, nil
}
