// Package memory is a configuration centre that lives in the process: for
// tests, and for the standalone mode in which the configuration is handed over
// by API. What it holds is lost when the process ends. It does not check what
// it stores.
package memory

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// history is how many changes a slow reader may be behind before it is sent
// everything again.
const history = 1024

// Center is both Source and Store. Make it with New.
type Center struct {
	prefix string

	mu      sync.Mutex
	rev     int64
	items   map[resource.Ref]configcenter.Change
	log     []configcenter.Change // the last changes; deleted objects have no Value
	logFrom int64                 // the log is complete after this revision
	changed chan struct{}         // closed at the next change
}

var (
	_ configcenter.Source = (*Center)(nil)
	_ configcenter.Store  = (*Center)(nil)
)

// New makes an empty centre; keys are shown with the prefix ("/apisix").
func New(prefix string) *Center {
	return &Center{
		prefix:  prefix,
		items:   map[resource.Ref]configcenter.Change{},
		changed: make(chan struct{}),
	}
}

// Prefix is what New was given.
func (c *Center) Prefix() string { return c.prefix }

// Get returns one object.
func (c *Center) Get(_ context.Context, k resource.Kind, id string) (configcenter.Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	item, ok := c.items[resource.Ref{Kind: k, ID: id}]
	if !ok {
		return item, configcenter.ErrNotFound
	}
	return item, nil
}

// List returns all objects of a kind in key order.
func (c *Center) List(_ context.Context, k resource.Kind) ([]configcenter.Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []configcenter.Change
	for ref, item := range c.items {
		if ref.Kind == k {
			out = append(out, item)
		}
	}
	slices.SortFunc(out, byKey)
	return out, nil
}

func byKey(a, b configcenter.Change) int {
	return strings.Compare(configcenter.Path(a.Kind, a.ID), configcenter.Path(b.Kind, b.ID))
}

// Put stores a copy of value.
func (c *Center) Put(_ context.Context, k resource.Kind, id string, value []byte, o configcenter.PutOptions) (configcenter.Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ref := resource.Ref{Kind: k, ID: id}
	old, had := c.items[ref]
	if o.Rev != 0 && old.Mod != o.Rev {
		return configcenter.Change{}, configcenter.ErrConflict
	}
	c.rev++
	item := configcenter.Change{Kind: k, ID: id, Value: json.RawMessage(slices.Clone(value)), Create: c.rev, Mod: c.rev}
	if had {
		item.Create = old.Create
	}
	c.items[ref] = item
	c.note(item)
	if o.TTL > 0 {
		time.AfterFunc(time.Duration(o.TTL)*time.Second, func() { c.expire(ref, item.Mod) })
	}
	return item, nil
}

// expire deletes the object unless it was written again meanwhile.
func (c *Center) expire(ref resource.Ref, mod int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[ref].Mod == mod {
		c.remove(ref)
	}
}

// Delete removes an object.
func (c *Center) Delete(_ context.Context, k resource.Kind, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ref := resource.Ref{Kind: k, ID: id}
	if _, ok := c.items[ref]; !ok {
		return configcenter.ErrNotFound
	}
	c.remove(ref)
	return nil
}

func (c *Center) remove(ref resource.Ref) {
	delete(c.items, ref)
	c.rev++
	c.note(configcenter.Change{Kind: ref.Kind, ID: ref.ID, Mod: c.rev})
}

// NextID returns a revision of its own.
func (c *Center) NextID(context.Context) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev++
	return c.rev, nil
}

// Replace makes items all that there is, in one step and with the revisions
// that they bring. It returns the store's revision, which Watch shows next.
func (c *Center) Replace(items []configcenter.Change) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev++
	clear(c.items)
	for _, item := range items {
		c.items[resource.Ref{Kind: item.Kind, ID: item.ID}] = item
		c.rev = max(c.rev, item.Mod)
	}
	c.log, c.logFrom = nil, c.rev
	c.wake()
	return c.rev
}

// note writes a change into the log, under the lock.
func (c *Center) note(item configcenter.Change) {
	if len(c.log) == history {
		c.logFrom = c.log[history/2-1].Mod
		c.log = slices.Clone(c.log[history/2:])
	}
	c.log = append(c.log, item)
	c.wake()
}

func (c *Center) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Watch sends everything, and then what changes.
func (c *Center) Watch(ctx context.Context) iter.Seq2[configcenter.Batch, error] {
	return func(yield func(configcenter.Batch, error) bool) {
		seen := int64(-1)
		for ctx.Err() == nil {
			b, changed := c.since(seen)
			if b.Full || len(b.Changes) > 0 {
				seen = b.Rev
				if !yield(b, nil) {
					return
				}
				continue
			}
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
	}
}

// since returns what happened after revision seen, and what is closed at the
// next change.
func (c *Center) since(seen int64) (configcenter.Batch, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := configcenter.Batch{Rev: c.rev}
	if seen < c.logFrom {
		b.Full = true
		for _, item := range c.items {
			b.Changes = append(b.Changes, item)
		}
		slices.SortFunc(b.Changes, byKey)
		return b, c.changed
	}
	for _, item := range c.log {
		if item.Mod > seen {
			b.Changes = append(b.Changes, item)
		}
	}
	return configcenter.Coalesce(configcenter.Batch{}, b), c.changed
}
