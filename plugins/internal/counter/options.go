package counter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"sluice/plugins"
	"sluice/plugins/internal/redisx"
)

// Options are the members of the configuration that all plugins limiting by
// quota have. Their defaults and ranges are in the schemas.
type Options struct {
	Count            *Amount `json:"count"`
	TimeWindow       *Amount `json:"time_window"` // seconds
	WindowType       string  `json:"window_type"`
	Rules            []Rule  `json:"rules"`
	Group            string  `json:"group"`
	Key              string  `json:"key"`
	KeyType          string  `json:"key_type"`
	RejectedCode     int     `json:"rejected_code"`
	RejectedMsg      string  `json:"rejected_msg"`
	AllowDegradation bool    `json:"allow_degradation"`
	ShowQuota        bool    `json:"show_limit_quota_header"`
	Policy           string  `json:"policy"`
	SyncInterval     float64 `json:"sync_interval"` // seconds; -1: count in the backend at once
	redisx.Conf
}

// Rule is one of several quotas; it applies when its key has a value.
type Rule struct {
	Count        *Amount `json:"count"`
	TimeWindow   *Amount `json:"time_window"`
	Key          string  `json:"key"`
	HeaderPrefix string  `json:"header_prefix"`
}

// Amount is a positive integer, or a text with variables that comes to one.
type Amount struct {
	n    int64
	text string // as configured, when it is a text
	tmpl *plugins.Template
}

// UnmarshalJSON accepts 7 and "$http_quota".
func (a *Amount) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &a.text); err != nil {
			return err
		}
		t, err := plugins.ParseTemplate(a.text)
		a.tmpl = t
		return err
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	a.n, err = whole(f, true)
	return err
}

// Resolve is the amount for one request; a text must come to more than 0.
func (a *Amount) Resolve(c *plugins.Ctx) (int64, error) { return a.resolve(c, false) }

// ResolveZero is Resolve for amounts that may be 0.
func (a *Amount) ResolveZero(c *plugins.Ctx) (int64, error) { return a.resolve(c, true) }

func (a *Amount) resolve(c *plugins.Ctx, zero bool) (int64, error) {
	if a.tmpl == nil {
		return a.n, nil
	}
	b, _ := a.tmpl.Append(c, c.Scratch())
	f, err := strconv.ParseFloat(string(bytes.TrimSpace(b)), 64)
	if err != nil {
		return 0, errors.New("resolved value is not a number")
	}
	return whole(f, zero)
}

const safe = 1<<53 - 1 // the largest integer that every JSON reader keeps

func whole(f float64, zero bool) (int64, error) {
	text := func() string { return strconv.FormatFloat(f, 'g', 14, 64) }
	switch {
	case f == 0 && zero:
		return 0, nil
	case !(f > 0) && zero:
		return 0, fmt.Errorf("resolved value must be a non-negative number, got: %s", text())
	case !(f > 0):
		return 0, fmt.Errorf("resolved value must be a positive number, got: %s", text())
	case f > safe:
		return 0, fmt.Errorf("resolved value exceeds safe integer range (2^53-1), got: %s", text())
	case f != float64(int64(f)):
		return 0, fmt.Errorf("resolved value must be an integer, got: %s", text())
	}
	return int64(f), nil
}

// check refuses what the schema cannot express.
func (o *Options) check() error {
	if o.Rules != nil && (o.Count != nil || o.TimeWindow != nil) {
		return errors.New("count/time_window and rules cannot be specified at the same time")
	}
	if o.Group != "" && o.Rules != nil {
		return errors.New("group and rules cannot be specified at the same time")
	}
	if o.Policy != "" && o.Policy != "local" {
		if err := o.checkSync(); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, r := range o.Rules {
		if seen[r.Key] {
			return fmt.Errorf("duplicate key '%s' in rules", r.Key)
		}
		seen[r.Key] = true
	}
	return nil
}

func (o *Options) checkSync() error {
	switch {
	case o.SyncInterval == -1:
		return nil
	case o.SyncInterval < 0.1:
		return errors.New("sync_interval should not be smaller than 0.1")
	case o.TimeWindow != nil && o.TimeWindow.tmpl == nil && o.SyncInterval >= float64(o.TimeWindow.n):
		return errors.New("sync_interval should be smaller than time_window")
	}
	return nil
}

// joinGroup makes sure that all members of a group are configured alike: they
// share their counters.
func (o *Options) joinGroup(env *plugins.Env, plugin string) (release func(), err error) {
	if o.Group == "" {
		return func() {}, nil
	}
	mine, err := json.Marshal(o.comparable())
	if err != nil {
		return nil, err
	}
	first, release := plugins.Share(env.Shared, plugin+"/group/"+o.Group,
		func() string { return string(mine) }, nil)
	if first != string(mine) {
		release()
		return nil, errors.New("group conf mismatched")
	}
	return release, nil
}

// comparable is o in a form that is the same for the same configuration.
func (o *Options) comparable() any {
	type plain Options
	return struct {
		plain
		Count, TimeWindow string
	}{plain(*o), o.Count.String(), o.TimeWindow.String()}
}

// String is the amount as configured.
func (a *Amount) String() string {
	switch {
	case a == nil:
		return ""
	case a.tmpl != nil:
		return strconv.Quote(a.text)
	}
	return strconv.FormatInt(a.n, 10)
}

// prefix is what the keys of an instance begin with: the group, or where the
// configuration is and which one it is, so that a changed one starts anew and
// an unchanged one goes on.
func (o *Options) prefix(env *plugins.Env) string {
	if o.Group != "" {
		return o.Group + ":"
	}
	return Prefix(env)
}

// Prefix is what the keys of an instance without group begin with.
func Prefix(env *plugins.Env) string {
	h := fnv.New64a()
	h.Write([]byte(env.Key))
	return "/apisix/" + strings.TrimPrefix(env.Owner, "/") + ":" + strconv.FormatUint(h.Sum64(), 10) + ":"
}
