package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Keeper hands out the values of references without waiting for their managers
// longer than a moment, and keeps them fresh beside: what it has is used at
// once, what it lacks or has grown old is asked for by Run. Safe for concurrent
// use.
type Keeper struct {
	r *Resolver

	mu      sync.Mutex
	find    Find                // of the configuration in use
	refs    map[string]*keeping // references in use
	changed map[string]struct{} // managers' configurations with a new value
	wake    chan struct{}       // to Run: something is missing
	news    chan struct{}       // from Run
}

// keeping is one reference as it was last handed out.
type keeping struct {
	id    string // of the manager's configuration
	value string // as text; "" is none
}

// patience is how long all references of one version may be waited for.
const patience = time.Second

// workers ask managers at the same time.
const workers = 4

// NewKeeper makes a Keeper; Run keeps it fresh.
func NewKeeper(r *Resolver) *Keeper {
	return &Keeper{r: r, find: func(string) json.RawMessage { return nil }, refs: map[string]*keeping{},
		changed: map[string]struct{}{}, wake: make(chan struct{}, 1), news: make(chan struct{}, 1)}
}

// Session resolves the references of one version of the configuration.
type Session struct {
	k    *Keeper
	ctx  context.Context
	find Find
	stop context.CancelFunc
}

// Begin starts a version whose managers find knows; End ends it. changed are
// the managers' configurations of which every user is resolved anew.
func (k *Keeper) Begin(find Find, changed []string) *Session {
	s := &Session{k: k, find: find}
	s.ctx, s.stop = context.WithTimeout(context.Background(), patience)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.find = find
	for ref, u := range k.refs {
		if slices.Contains(changed, u.id) {
			delete(k.refs, ref) // it comes again if it is still in use
		}
	}
	return s
}

// End gives up what the version still waits for.
func (s *Session) End() { s.stop() }

// Fill is Resolver.Fill that does not wait for what is slow. used hears of each
// manager's configuration that doc depends on.
func (s *Session) Fill(doc any, used func(id string)) (any, []error) {
	return fillWith(doc, func(ref string) (any, error) {
		if isEnv(ref) {
			return s.k.r.Value(s.ctx, ref, s.find)
		}
		id, _, err := split(ref)
		if err != nil {
			return nil, fmt.Errorf("secret reference %s: %w", ref, err)
		}
		used(id)
		v, ok := s.k.r.kept(ref, s.find)
		if !ok {
			v, err = s.k.r.Value(s.ctx, ref, s.find)
		}
		s.k.note(ref, id, v)
		return v, err
	})
}

// maxRefs bounds what is kept fresh.
const maxRefs = 1 << 16

func (k *Keeper) note(ref, id string, v any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.refs) < maxRefs || k.refs[ref] != nil {
		k.refs[ref] = &keeping{id: id, value: textOf(v)}
	}
	if v == nil {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

func textOf(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// News receives when values have changed; Changed tells whose.
func (k *Keeper) News() <-chan struct{} { return k.news }

// Changed takes the ids of the managers' configurations that have new values.
func (k *Keeper) Changed() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := slices.Sorted(maps.Keys(k.changed))
	clear(k.changed)
	return ids
}

// Run asks for what is missing or older than its TTL until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	every := min(max(k.r.o.TTL/10, time.Second), 30*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-tick.C:
		}
		k.refresh(ctx)
	}
}

// refresh asks for every reference; the resolver answers itself what is young
// enough.
func (k *Keeper) refresh(ctx context.Context) {
	k.mu.Lock()
	find, refs := k.find, slices.Collect(maps.Keys(k.refs))
	k.mu.Unlock()
	slots := make(chan struct{}, workers)
	var wg sync.WaitGroup
	for _, ref := range refs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if v, err := k.r.Value(ctx, ref, find); err == nil {
				k.compare(ref, textOf(v))
			}
		})
	}
	wg.Wait()
}

func (k *Keeper) compare(ref, value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	u := k.refs[ref]
	if u == nil || u.value == value {
		return
	}
	u.value = value
	k.changed[u.id] = struct{}{}
	select {
	case k.news <- struct{}{}:
	default:
	}
}
