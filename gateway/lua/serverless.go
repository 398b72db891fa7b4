package lua

import (
	"encoding/json"

	"sluice/plugins"
)

// Serverless makes an instance of the serverless plugins: functions that run in
// one phase.
func Serverless(env *plugins.Env, phase string, sources []string, conf json.RawMessage) (plugins.Phases, error) {
	host, release := Open(env)
	f, err := host.Functions(sources, conf)
	if err != nil {
		release()
		return plugins.Phases{}, err
	}
	ph := plugins.Phases{Close: func() { f.Close(); release() }}
	reply := func(c *plugins.Ctx) (*plugins.Reply, error) { return f.Call(c, phase) }
	switch phase {
	case "rewrite":
		ph.Rewrite = reply
	case "access":
		ph.Access = reply
	case "before_proxy":
		ph.BeforeProxy = reply
	case "header_filter":
		ph.HeaderFilter = func(c *plugins.Ctx) error { return f.Observe(c, phase) }
	case "body_filter":
		ph.HeaderFilter = func(c *plugins.Ctx) error { c.Resp.ContentLength = -1; return nil } // its length is not known yet
		ph.BodyFilter = f.Filter
	case "log":
		ph.Log = func(c *plugins.Ctx) {
			if err := f.Observe(c, phase); err != nil {
				c.Log().Error("lua function failed", "plugin", env.Name, "err", err)
			}
		}
	}
	return ph, nil
}
