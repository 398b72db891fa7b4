// Package lua runs the Lua that users write into their configuration: plugin
// functions, scripts, conditions of routes. It is Lua 5.1 with goto, in the
// process, with the tables ngx and apisix.core as views of a plugins.Ctx.
//
// A Host keeps whole interpreter states in a pool. A state belongs to one call
// at a time; between calls nothing of a request stays in it. Each Program has
// an environment of its own in each state, so that what one writes no other sees.
//
// A call that computes too long is cut off at its next instruction, or in the
// midst of a pattern. What it builds of strings is counted; what else it fills
// the memory with shows in the process's heap, at which a call that computes
// for more than some milliseconds looks.
//
// It does not know the gateway, the router, or which plugins run Lua.
package lua

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/syntax"
	"sluice/gateway/lua/template"
	"sluice/plugins"
)

// Options bound what Lua may use. The zero value has the defaults named.
type Options struct {
	Budget   time.Duration  // of computing, for each call; 1 s
	Blocking time.Duration  // of sleeping and talking to others, for each call; 60 s
	States   int            // interpreters at work at once; 256
	Timers   int            // of ngx.timer.at, waiting or running; 64
	Output   int            // bytes that one call may print or build in one string; 64 MiB
	Memory   int            // bytes of strings that one call may build, and of heap that a long one may fill; 512 MiB
	Dicts    map[string]int // ngx.shared: name → size in bytes
	Log      *slog.Logger   // for what runs outside of requests; nil: nowhere
	Now      func() time.Time
	// Getenv is os.getenv; nil: every variable is unset.
	Getenv func(string) string
	// Transport carries the requests of resty.http; nil: one of the Host's own.
	Transport http.RoundTripper
}

func (o *Options) defaults() {
	if o.Budget == 0 {
		o.Budget = time.Second
	}
	if o.Blocking == 0 {
		o.Blocking = time.Minute
	}
	if o.States == 0 {
		o.States = 256
	}
	if o.Timers == 0 {
		o.Timers = 64
	}
	if o.Output == 0 {
		o.Output = 64 << 20
	}
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
}

// Host owns the states and everything that Lua shares beyond a request. Safe
// for concurrent use.
type Host struct {
	o     Options
	slots chan struct{} // one for each state at work
	// closedPrograms changes when a Program is closed, so that states forget it.
	closedPrograms atomic.Int64
	dicts          *lib.Dicts
	regexes        lib.Regexes
	modules        sync.Map // name of an embedded module → *lua.FunctionProto
	templates      *template.Engine

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // timers
	timers atomic.Int32
	ownTR  *http.Transport
	once   sync.Once // makes ownTR
	id     string    // of the process, as apisix.core.id has it

	mu     sync.Mutex
	idle   []*state // the last one given back is the first to be used again
	protos map[string]*sharedProto
}

type sharedProto struct {
	proto *lua.FunctionProto
	refs  int
}

// New makes a Host; Close ends it.
func New(o Options) *Host {
	o.defaults()
	h := &Host{o: o, slots: make(chan struct{}, o.States), protos: map[string]*sharedProto{}, id: uuid(),
		dicts: lib.NewDicts(o.Dicts, o.Now)}
	h.templates = template.New(template.Engine{Limit: o.Output, Compile: syntax.Compile, Plain: plain})
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// sharedKey is where the Host of the process lies in plugins.Shared.
const sharedKey = "gateway/lua"

// Share returns the Host that everybody with s uses, made with o by the first,
// and the function that gives it back.
func Share(s *plugins.Shared, o Options) (*Host, func()) {
	return plugins.Share(s, sharedKey, func() *Host { return New(o) }, (*Host).Close)
}

// Open is Share for plugins.
func Open(env *plugins.Env) (*Host, func()) {
	return Share(env.Shared, Options{Log: env.Log, Now: env.Now})
}

// Close ends timers and drops the states. Calls on their way end by themselves.
func (h *Host) Close() {
	h.cancel()
	h.work.Wait()
	h.mu.Lock()
	for _, s := range h.idle {
		s.l.Close()
	}
	h.idle = nil
	h.mu.Unlock()
	h.once.Do(func() {})
	if h.ownTR != nil {
		h.ownTR.CloseIdleConnections()
	}
}

// errBusy is what a call gets that waited in vain for a state.
var errBusy = errors.New("lua: all interpreter states are in use")

// take returns a state for one call, waiting for it as long as a call may block.
func (h *Host) take(ctx context.Context) (*state, error) {
	select {
	case h.slots <- struct{}{}:
	default:
		if err := h.wait(ctx); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	n := len(h.idle)
	if n == 0 {
		h.mu.Unlock()
		return newState(h), nil
	}
	s := h.idle[n-1]
	h.idle[n-1] = nil
	h.idle = h.idle[:n-1]
	h.mu.Unlock()
	return s, nil
}

func (h *Host) wait(ctx context.Context) error {
	if ctx == nil {
		ctx = h.ctx
	}
	t := time.NewTimer(h.o.Blocking)
	defer t.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return errBusy
	}
}

// give takes a state back. Beyond a few for each processor they are dropped:
// a burst must not be kept in memory for ever.
func (h *Host) give(s *state) {
	keep := !s.spoilt && h.ctx.Err() == nil
	if keep {
		h.mu.Lock()
		if keep = len(h.idle) < 8*runtime.GOMAXPROCS(0); keep {
			h.idle = append(h.idle, s)
		}
		h.mu.Unlock()
	}
	if !keep {
		s.l.Close()
	}
	<-h.slots
}

// proto returns the compiled form of a source, compiled once for all who have
// the same; forget gives it back.
func (h *Host) proto(src, name string) (*lua.FunctionProto, error) {
	key := name + "\x00" + src
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.protos[key]; p != nil {
		p.refs++
		return p.proto, nil
	}
	p, err := syntax.Compile(src, name)
	if err != nil {
		return nil, err
	}
	h.protos[key] = &sharedProto{p, 1}
	return p, nil
}

// Len is the number of sources in use, for leak tests.
func (h *Host) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.protos)
}

func (h *Host) forget(src, name string) {
	key := name + "\x00" + src
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.protos[key]; p != nil {
		if p.refs--; p.refs == 0 {
			delete(h.protos, key)
		}
	}
}

func (h *Host) transport() http.RoundTripper {
	if h.o.Transport != nil {
		return h.o.Transport
	}
	h.once.Do(func() {
		h.ownTR = &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}
	})
	return h.ownTR
}

// uuid is a random UUID of version 4.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
