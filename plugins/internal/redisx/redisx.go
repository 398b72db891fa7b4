// Package redisx is how plugins use Redis: one client for each place and
// identity, shared by all instances and all versions, and scripts that run
// there in one round trip.
//
// It does not know what is kept in Redis.
package redisx

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"sluice/plugins"
)

// Client is a Redis, a cluster or what sentinels guard. It connects when it is
// first used. Safe for concurrent use.
type Client struct {
	option  rueidis.ClientOption
	log     *slog.Logger
	cluster bool
	secrets []string

	live atomic.Pointer[rueidis.Client]

	mu      sync.Mutex
	attempt *attempt // under way, or nil
	closed  bool
}

// attempt is one try to connect, for which all who need it wait.
type attempt struct {
	done chan struct{}
	err  error
}

var errClosed = errors.New("redis client is closed")

// Open returns the client that c describes, and its release. It does not
// connect.
func Open(env *plugins.Env, policy string, c *Conf) (*Client, func(), error) {
	option, err := c.option(policy)
	if err != nil {
		return nil, nil, err
	}
	client, release := plugins.Share(env.Shared, c.key(policy), func() *Client {
		n := &Client{option: option, log: env.Log, cluster: policy == Cluster}
		for _, s := range []string{c.Password, c.SentinelPassword} {
			if s != "" {
				n.secrets = append(n.secrets, s)
			}
		}
		return n
	}, (*Client).close)
	return client, release, nil
}

// Cluster says that keys lie on different servers, by the part of them that is
// in braces, if any: a script gets keys of one server only.
func (c *Client) Cluster() bool { return c.cluster }

// connected returns the connected client, or waits for that.
func (c *Client) connected(ctx context.Context) (rueidis.Client, error) {
	if live := c.live.Load(); live != nil {
		return *live, nil
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed
	}
	a := c.attempt
	if a == nil && c.live.Load() == nil {
		a = &attempt{done: make(chan struct{})}
		c.attempt = a
		go c.connect(a)
	}
	c.mu.Unlock()
	if a != nil {
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.err != nil {
			return nil, a.err
		}
	}
	if live := c.live.Load(); live != nil {
		return *live, nil
	}
	return nil, errClosed
}

// connect ends with a.done; the time-outs of the connection bound it.
func (c *Client) connect(a *attempt) {
	client, err := rueidis.NewClient(c.option)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	c.attempt = nil
	switch {
	case err != nil:
		a.err = c.clean(err)
	case c.closed:
		client.Close()
		a.err = errClosed
	default:
		c.live.Store(&client)
	}
}

// close ends every connection.
func (c *Client) close() {
	c.mu.Lock()
	c.closed = true
	a := c.attempt
	live := c.live.Swap(nil)
	c.mu.Unlock()
	if a != nil {
		<-a.done
	}
	if live != nil {
		(*live).Close()
	}
}

// clean says what happened in APISIX's words, without secrets.
func (c *Client) clean(err error) error {
	text := err.Error()
	for _, s := range c.secrets {
		text = strings.ReplaceAll(text, s, "******")
	}
	if strings.Contains(text, "DB index is out of range") {
		text = "failed to change redis db, err: ERR " + strings.TrimPrefix(text, "ERR ")
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// Script is a Lua script that servers keep after its first use.
type Script struct{ text, sha string }

// NewScript returns the script of that text.
func NewScript(text string) *Script {
	sum := sha1.Sum([]byte(text))
	return &Script{text, hex.EncodeToString(sum[:])}
}

// Call is one use of a script.
type Call struct {
	Keys, Args []string
}

// Run runs s and returns what it returned, a list. It is not repeated when the
// connection breaks: the script may have run.
func (c *Client) Run(ctx context.Context, s *Script, call Call) (Result, error) {
	live, err := c.connected(ctx)
	if err != nil {
		return nil, err
	}
	list, err := live.Do(ctx, evalSHA(live, s, call)).ToArray()
	if missing(err) {
		c.log.Warn("redis evalsha failed: " + err.Error() + ". Falling back to eval")
		list, err = live.Do(ctx, eval(live, s, call)).ToArray()
	}
	if err != nil {
		return nil, c.clean(err)
	}
	return list, nil
}

// RunAll is Run for many calls, sent at once. each gets the result of the
// call of that index.
func (c *Client) RunAll(ctx context.Context, s *Script, calls []Call, each func(i int, r Result, err error)) {
	live, err := c.connected(ctx)
	if err != nil {
		for i := range calls {
			each(i, nil, err)
		}
		return
	}
	commands := make(rueidis.Commands, len(calls))
	for i := range calls {
		commands[i] = evalSHA(live, s, calls[i])
	}
	for i, r := range live.DoMulti(ctx, commands...) {
		list, err := r.ToArray()
		if missing(err) {
			list, err = live.Do(ctx, eval(live, s, calls[i])).ToArray()
		}
		if err != nil {
			err = c.clean(err)
		}
		each(i, list, err)
	}
}

func evalSHA(live rueidis.Client, s *Script, call Call) rueidis.Completed {
	return live.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(call.Keys))).Key(call.Keys...).Arg(call.Args...).Build()
}

func eval(live rueidis.Client, s *Script, call Call) rueidis.Completed {
	return live.B().Eval().Script(s.text).Numkeys(int64(len(call.Keys))).Key(call.Keys...).Arg(call.Args...).Build()
}

func missing(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && e.IsNoScript()
}

// Result is a list of numbers, as integers or as text.
type Result []rueidis.RedisMessage

// Int is the integer at i.
func (r Result) Int(i int) (int64, error) {
	if i >= len(r) {
		return 0, errShort
	}
	if r[i].IsInt64() {
		return r[i].ToInt64()
	}
	return r[i].AsInt64()
}

// Float is the number at i.
func (r Result) Float(i int) (float64, error) {
	if i >= len(r) {
		return 0, errShort
	}
	if r[i].IsInt64() {
		n, err := r[i].ToInt64()
		return float64(n), err
	}
	return r[i].AsFloat64()
}

var errShort = errors.New("redis: the script returned too little")
