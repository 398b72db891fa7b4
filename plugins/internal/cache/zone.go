// Package cache keeps HTTP responses by key, in memory or on disk, within
// bounds: a zone of config.yaml is one Zone, shared by all who use it. It also
// has the parts of HTTP that every cache needs: directives, Vary, conditions
// and ranges.
//
// It does not know which requests and responses are to be cached, nor what the
// keys are made of; that is the plugins' business.
package cache

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/gateway/wire"
	"sluice/plugins"
)

const (
	shards = 16
	// maxVariants bounds what one key holds: a response that varies by a field
	// with many values must not take the zone for itself.
	maxVariants = 64
	// maxBodies does so where it is not the response that varies: what is asked
	// for with one URL and different bodies.
	maxBodies = 4096
	// overhead is what an entry takes beside its texts, about, in bytes.
	overhead = 400
)

// Options describe a zone. Sizes are in bytes.
type Options struct {
	Name   string
	Memory int64 // of bodies and all else; of everything but bodies when they lie on disk
	Path   string
	Disk   int64 // 0: bodies are in memory
	Levels []int // characters of the names of folders below Path, at most three
	// Inactive is how long an entry on disk is kept that nobody asks for; 0: a day.
	Inactive time.Duration
	Now      func() time.Time
	Log      *slog.Logger
}

// Zone is a bounded set of stored responses. When it is full those that were
// not asked for the longest go first. Safe for concurrent use.
type Zone struct {
	o     Options
	seed  maphash.Seed
	parts [shards]part
	disk  *disk // nil: in memory

	// filling is how many bytes of responses on their way are held: they count
	// against the size of the zone on their own.
	filling atomic.Int64

	mu       sync.Mutex
	list     Entry // its next is the newest, its prev the one to go
	entries  int
	inMemory int64
	onDisk   int64
}

// part is a share of the keys.
type part struct {
	mu sync.RWMutex
	m  map[string]*resource
	// purges counts; purged is at which count a key was purged, by its hash, as
	// far as that happened after forgotten.
	purges, forgotten uint64
	purged            map[uint64]uint64
}

// maxPurged bounds what a part remembers of purges.
const maxPurged = 1024

// purge notes that the key of that hash was purged now.
func (p *part) purge(hash uint64) {
	p.purges++
	if len(p.purged) >= maxPurged {
		p.forgotten = p.purges
		clear(p.purged)
	}
	if p.purged == nil {
		p.purged = map[uint64]uint64{}
	}
	p.purged[hash] = p.purges
}

// late says that the key was, or may have been, purged after t.
func (p *part) late(t *Ticket) bool { return t.purges < p.forgotten || t.purges < p.purged[t.hash] }

// resource is what is stored under one key: one response for each combination
// of the request's fields that vary names.
type resource struct {
	vary    []string
	entries []*Entry // the oldest first
	marks   map[mark]*Entry
}

// fewEntries is up to how many a list is searched as fast as a map.
const fewEntries = 8

func (res *resource) get(m mark) *Entry {
	if res.marks != nil {
		return res.marks[m]
	}
	for _, e := range res.entries {
		if e.mark == m {
			return e
		}
	}
	return nil
}

func (res *resource) add(e *Entry) {
	res.entries = append(res.entries, e)
	if res.marks == nil && len(res.entries) > fewEntries {
		res.marks = map[mark]*Entry{}
		for _, e := range res.entries {
			res.marks[e.mark] = e
		}
	} else if res.marks != nil {
		res.marks[e.mark] = e
	}
}

// remove reports whether e was there.
func (res *resource) remove(e *Entry) bool {
	i := slices.Index(res.entries, e)
	if i < 0 {
		return false
	}
	res.entries = slices.Delete(res.entries, i, i+1)
	delete(res.marks, e.mark)
	return true
}

// Share returns the zone that all have in common who name it, and the function
// that gives it back.
func Share(s *plugins.Shared, o Options) (*Zone, func()) {
	return plugins.Share(s, "cache/"+o.Name, func() *Zone { return New(o) }, (*Zone).Close)
}

// New opens a zone. What lies on disk is read in the background; a disk that
// cannot be used is reported to the log, and the zone stays empty.
func New(o Options) *Zone {
	if o.Inactive == 0 {
		o.Inactive = 24 * time.Hour
	}
	z := &Zone{o: o, seed: maphash.MakeSeed()}
	z.list.next, z.list.prev = &z.list, &z.list
	for i := range z.parts {
		z.parts[i].m = map[string]*resource{}
	}
	if o.Disk > 0 {
		z.disk = &disk{z: z}
		z.disk.open()
	}
	return z
}

// Close ends what runs in the background. Files stay.
func (z *Zone) Close() {
	if z.disk != nil {
		z.disk.close()
	}
}

// Ticket is from a look-up to the storing of what it did not find: what was
// asked for before a purge must not be stored after it.
type Ticket struct{ hash, purges uint64 }

// Find returns what is stored under key for a request like r, or nil. extra is
// a part of the request that r's fields do not tell (the hash of a body), and
// "" for none. It may be past its time. Neither key nor r is kept.
func (z *Zone) Find(key []byte, r *wire.Request, extra string) (*Entry, Ticket) {
	t := Ticket{hash: maphash.Bytes(z.seed, key)}
	p := &z.parts[t.hash%shards]
	e := p.find(key, r, extra, &t)
	if e == nil && z.disk != nil && z.disk.cold.Load() && z.disk.warm(key) {
		e = p.find(key, r, extra, &t)
	}
	if e != nil && !e.used.Load() {
		e.used.Store(true)
	}
	return e, t
}

func (p *part) find(key []byte, r *wire.Request, extra string, t *Ticket) *Entry {
	p.mu.RLock()
	defer p.mu.RUnlock()
	t.purges = p.purges
	res := p.m[string(key)]
	if res == nil {
		return nil
	}
	return res.get(sign(res.vary, r, extra))
}

// Purge removes everything under key and reports whether there was anything.
// Responses that are on their way are not stored any more.
func (z *Zone) Purge(key []byte) bool {
	if z.disk != nil && z.disk.cold.Load() {
		z.disk.warm(key)
	}
	hash := maphash.Bytes(z.seed, key)
	p := &z.parts[hash%shards]
	p.mu.Lock()
	p.purge(hash)
	res := p.m[string(key)]
	delete(p.m, string(key))
	p.mu.Unlock()
	if res == nil {
		return false
	}
	z.settle(nil, res.entries)
	return true
}

// Drop removes e, which turned out to be of no use.
func (z *Zone) Drop(e *Entry) {
	if z.take(e) {
		z.settle(nil, []*Entry{e})
	}
}

func (z *Zone) partOf(key string) *part { return &z.parts[maphash.String(z.seed, key)%shards] }

// take removes e from its key and reports whether it was there.
func (z *Zone) take(e *Entry) bool {
	p := z.partOf(e.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	res := p.m[e.key]
	if res == nil || !res.remove(e) {
		return false
	}
	if len(res.entries) == 0 {
		delete(p.m, e.key)
	}
	return true
}

// insert stores e, and what has to go for it goes. A ticket from before a purge
// is refused. Without a ticket e comes from the disk, and what is newer stays.
func (z *Zone) insert(e *Entry, t *Ticket) bool {
	p := z.partOf(e.key)
	p.mu.Lock()
	if t != nil && p.late(t) {
		p.mu.Unlock()
		return false
	}
	res := p.m[e.key]
	if res == nil {
		res = &resource{vary: e.vary}
		p.m[e.key] = res
	}
	if t == nil && slices.ContainsFunc(res.entries, e.isOlder) {
		p.mu.Unlock()
		return false
	}
	out := res.replace(e)
	p.mu.Unlock()
	z.settle(e, out)
	return true
}

// isOlder says that e must not take the place of other.
func (e *Entry) isOlder(other *Entry) bool {
	return e.Stored <= other.Stored && (e.mark == other.mark || !slices.Equal(e.vary, other.vary))
}

// replace adds e and returns what it displaces: its predecessor, the oldest when
// there are too many, and all when the response varies by other fields now.
func (res *resource) replace(e *Entry) (out []*Entry) {
	if !slices.Equal(res.vary, e.vary) {
		out = res.entries
		*res = resource{vary: e.vary}
	}
	if other := res.get(e.mark); other != nil {
		res.remove(other)
		out = append(out, other)
	}
	most := maxVariants
	if len(res.vary) == 0 {
		most = maxBodies
	}
	if len(res.entries) >= most {
		out = append(out, res.entries[0])
		res.remove(res.entries[0])
	}
	res.add(e)
	return out
}

// settle books what came in (nil: nothing) and what went out, makes room, and
// removes the files of what is gone.
func (z *Zone) settle(in *Entry, out []*Entry) {
	z.mu.Lock()
	for _, e := range out {
		z.unlink(e)
	}
	if in != nil && !in.gone {
		z.link(in)
	}
	victims := z.victims()
	z.mu.Unlock()
	for _, e := range victims {
		z.take(e)
	}
	if z.disk != nil {
		z.disk.remove(out)
		z.disk.remove(victims)
	}
}

// victims unlinks what is too much. An entry that was asked for since it was
// last looked at gets another turn.
func (z *Zone) victims() (out []*Entry) {
	for turns := z.entries; z.entries > 0 && (z.inMemory > z.o.Memory || z.disk != nil && z.onDisk > z.o.Disk); {
		e := z.list.prev
		if turns--; turns >= 0 && e.used.Swap(false) {
			z.unlink(e)
			e.gone = false
			z.link(e)
			continue
		}
		z.unlink(e)
		out = append(out, e)
	}
	return out
}

// sweep removes what nobody asked for in a long time.
func (z *Zone) sweep() {
	old := z.o.Now().Add(-z.o.Inactive).UnixNano()
	var out []*Entry
	z.mu.Lock()
	for z.entries > 0 {
		e := z.list.prev
		if e.placed > old {
			break
		}
		z.unlink(e)
		if e.used.Swap(false) {
			e.gone = false
			z.link(e)
			continue
		}
		out = append(out, e)
	}
	z.mu.Unlock()
	for _, e := range out {
		z.take(e)
	}
	z.disk.remove(out)
}

func (z *Zone) link(e *Entry) {
	e.placed = z.o.Now().UnixNano()
	e.prev, e.next = &z.list, z.list.next
	e.next.prev, z.list.next = e, e
	z.entries++
	z.inMemory += e.memory
	z.onDisk += e.size
}

func (z *Zone) unlink(e *Entry) {
	if e.gone {
		return
	}
	e.gone = true
	if e.next == nil {
		return // not linked yet, and now it will not be
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
	z.entries--
	z.inMemory -= e.memory
	z.onDisk -= e.size
}

// Used is how many entries there are, and how much they take, in bytes.
func (z *Zone) Used() (entries int, memory, disk int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.entries, z.inMemory, z.onDisk
}

// ParseLevels reads cache_levels: "1:2".
func ParseLevels(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var levels []int
	for one := range strings.SplitSeq(s, ":") {
		if one != "1" && one != "2" {
			return nil, fmt.Errorf("cache_levels %q: want one to three numbers of 1 or 2, such as 1:2", s)
		}
		levels = append(levels, int(one[0]-'0'))
	}
	if len(levels) > 3 {
		return nil, fmt.Errorf("cache_levels %q: want one to three numbers of 1 or 2, such as 1:2", s)
	}
	return levels, nil
}
