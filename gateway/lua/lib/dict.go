package lib

import (
	"container/list"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Dicts are ngx.shared: the dictionaries that have a size. The zero value has none.
type Dicts struct {
	sizes map[string]int
	now   func() time.Time
	mu    sync.Mutex
	m     map[string]*Dict
}

// NewDicts makes dictionaries of these sizes in bytes.
func NewDicts(sizes map[string]int, now func() time.Time) *Dicts {
	return &Dicts{sizes: sizes, now: now, m: map[string]*Dict{}}
}

// Dict is one dictionary: values by key, bounded in bytes; the entry that was
// used least recently goes first. Safe for concurrent use.
type Dict struct {
	mu    sync.Mutex
	now   func() time.Time
	limit int
	size  int
	m     map[string]*list.Element
	order *list.List // of *entry, the latest first
}

type entry struct {
	key   string
	value lua.LValue // string, number or boolean
	list  []lua.LValue
	flags int
	until time.Time // zero: for ever
}

// overhead is what an entry costs beside its key and value, in bytes.
const overhead = 100

func (e *entry) size() int {
	n := overhead + len(e.key) + sizeOf(e.value)
	for _, v := range e.list {
		n += 16 + sizeOf(v)
	}
	return n
}

func sizeOf(v lua.LValue) int {
	if s, ok := v.(lua.LString); ok {
		return len(s)
	}
	return 8
}

func (d *Dict) get(key string) (*entry, bool) {
	el := d.m[key]
	if el == nil {
		return nil, false
	}
	e := el.Value.(*entry)
	if !e.until.IsZero() && !d.now().Before(e.until) {
		d.remove(el)
		return nil, false
	}
	d.order.MoveToFront(el)
	return e, true
}

func (d *Dict) remove(el *list.Element) {
	e := el.Value.(*entry)
	d.order.Remove(el)
	delete(d.m, e.key)
	d.size -= e.size()
}

// put stores e. evict says that others may be dropped for it. It reports
// whether there was room, and whether others went.
func (d *Dict) put(e *entry, evict bool) (ok, forced bool) {
	if e.size() > d.limit {
		return false, false
	}
	if el := d.m[e.key]; el != nil {
		d.remove(el)
	}
	for d.size+e.size() > d.limit {
		if !evict {
			return false, false
		}
		d.remove(d.order.Back())
		forced = true
	}
	d.m[e.key] = d.order.PushFront(e)
	d.size += e.size()
	return true, forced
}

// Get returns the dictionary called name, or nil.
func (ds *Dicts) Get(name string) *Dict {
	limit := ds.sizes[name]
	if limit <= 0 {
		return nil
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d := ds.m[name]
	if d == nil {
		d = &Dict{now: ds.now, limit: limit, m: map[string]*list.Element{}, order: list.New()}
		ds.m[name] = d
	}
	return d
}

// method wraps a function of a dictionary: it gets the receiver, locked.
func method(f func(l *lua.LState, d *Dict) int) lua.LGFunction {
	return func(l *lua.LState) int {
		d, ok := l.CheckUserData(1).Value.(*Dict)
		if !ok {
			l.ArgError(1, "shared dictionary expected")
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return f(l, d)
	}
}

// store is set, add and replace. want says whether the key must exist already.
func store(evict bool, want func(exists bool) string) lua.LGFunction {
	return method(func(l *lua.LState, d *Dict) int {
		key := ArgText(l, 2)
		e := &entry{key: key, value: l.Get(3), flags: l.OptInt(5, 0)}
		if ttl := l.OptNumber(4, 0); ttl > 0 {
			e.until = d.now().Add(Duration(ttl, time.Second))
		}
		_, exists := d.get(key)
		if msg := want(exists); msg != "" {
			l.Push(lua.LFalse)
			l.Push(lua.LString(msg))
			l.Push(lua.LFalse)
			return 3
		}
		switch e.value.(type) {
		case lua.LString, lua.LNumber, lua.LBool:
		case *lua.LNilType:
			if exists {
				d.remove(d.m[key])
			}
			l.Push(lua.LTrue)
			return 1
		default:
			return Fail(l, "bad value type")
		}
		ok, forced := d.put(e, evict)
		if !ok {
			l.Push(lua.LFalse)
			l.Push(lua.LString("no memory"))
			l.Push(lua.LFalse)
			return 3
		}
		l.Push(lua.LTrue)
		l.Push(lua.LNil)
		l.Push(lua.LBool(forced))
		return 3
	})
}

// DictMethods are those of a userdata that holds a *Dict.
var DictMethods = map[string]lua.LGFunction{
	"get": method(func(l *lua.LState, d *Dict) int {
		e, ok := d.get(ArgText(l, 2))
		if !ok {
			l.Push(lua.LNil)
			return 1
		}
		if e.list != nil {
			return Fail(l, "value is a list")
		}
		l.Push(e.value)
		if e.flags != 0 {
			l.Push(lua.LNumber(e.flags))
			return 2
		}
		return 1
	}),
	"set":      store(true, func(bool) string { return "" }),
	"safe_set": store(false, func(bool) string { return "" }),
	"add": store(true, func(exists bool) string {
		if exists {
			return "exists"
		}
		return ""
	}),
	"safe_add": store(false, func(exists bool) string {
		if exists {
			return "exists"
		}
		return ""
	}),
	"replace": store(true, func(exists bool) string {
		if !exists {
			return "not found"
		}
		return ""
	}),
	"delete": method(func(l *lua.LState, d *Dict) int {
		if el := d.m[ArgText(l, 2)]; el != nil {
			d.remove(el)
		}
		return 0
	}),
	"incr": method(incr),
	"ttl": method(func(l *lua.LState, d *Dict) int {
		e, ok := d.get(ArgText(l, 2))
		switch {
		case !ok:
			return Fail(l, "not found")
		case e.until.IsZero():
			l.Push(lua.LNumber(0))
		default:
			l.Push(lua.LNumber(e.until.Sub(d.now()).Seconds()))
		}
		return 1
	}),
	"expire": method(func(l *lua.LState, d *Dict) int {
		e, ok := d.get(ArgText(l, 2))
		if !ok {
			return Fail(l, "not found")
		}
		if e.until = (time.Time{}); l.CheckNumber(3) > 0 {
			e.until = d.now().Add(Duration(l.CheckNumber(3), time.Second))
		}
		l.Push(lua.LTrue)
		return 1
	}),
	"flush_all": method(func(l *lua.LState, d *Dict) int {
		d.m, d.size = map[string]*list.Element{}, 0
		d.order.Init()
		return 0
	}),
	"flush_expired": method(func(l *lua.LState, d *Dict) int {
		n := 0
		for el := d.order.Front(); el != nil; {
			next := el.Next()
			if e := el.Value.(*entry); !e.until.IsZero() && !d.now().Before(e.until) {
				d.remove(el)
				n++
			}
			el = next
		}
		l.Push(lua.LNumber(n))
		return 1
	}),
	"get_keys": method(func(l *lua.LState, d *Dict) int {
		limit := l.OptInt(2, 1024)
		t := l.NewTable()
		for el := d.order.Front(); el != nil && (limit == 0 || t.Len() < limit); el = el.Next() {
			t.Append(lua.LString(el.Value.(*entry).key))
		}
		l.Push(t)
		return 1
	}),
	"capacity":   method(func(l *lua.LState, d *Dict) int { l.Push(lua.LNumber(d.limit)); return 1 }),
	"free_space": method(func(l *lua.LState, d *Dict) int { l.Push(lua.LNumber(d.limit - d.size)); return 1 }),
	"lpush":      method(func(l *lua.LState, d *Dict) int { return push(l, d, true) }),
	"rpush":      method(func(l *lua.LState, d *Dict) int { return push(l, d, false) }),
	"lpop":       method(func(l *lua.LState, d *Dict) int { return pop(l, d, true) }),
	"rpop":       method(func(l *lua.LState, d *Dict) int { return pop(l, d, false) }),
	"llen": method(func(l *lua.LState, d *Dict) int {
		e, ok := d.get(ArgText(l, 2))
		n := 0
		if ok {
			n = len(e.list)
		}
		l.Push(lua.LNumber(n))
		return 1
	}),
}

func incr(l *lua.LState, d *Dict) int {
	key, by := ArgText(l, 2), l.CheckNumber(3)
	e, ok := d.get(key)
	if !ok {
		start, has := l.Get(4).(lua.LNumber)
		if !has {
			return Fail(l, "not found")
		}
		e = &entry{key: key, value: start + by}
		if ttl := l.OptNumber(5, 0); ttl > 0 {
			e.until = d.now().Add(Duration(ttl, time.Second))
		}
		if ok, _ := d.put(e, true); !ok {
			return Fail(l, "no memory")
		}
		l.Push(e.value)
		return 1
	}
	n, isNumber := e.value.(lua.LNumber)
	if !isNumber {
		return Fail(l, "not a number")
	}
	e.value = n + by
	l.Push(e.value)
	return 1
}

func push(l *lua.LState, d *Dict, left bool) int {
	key := ArgText(l, 2)
	e, ok := d.get(key)
	if ok && e.list == nil {
		return Fail(l, "value not a list")
	}
	next := &entry{key: key, value: lua.LNil}
	if ok {
		next.list = e.list
	}
	v := l.Get(3)
	switch v.(type) {
	case lua.LString, lua.LNumber:
	default:
		return Fail(l, "bad value type")
	}
	if left {
		next.list = append([]lua.LValue{v}, next.list...)
	} else {
		next.list = append(next.list[:len(next.list):len(next.list)], v)
	}
	if ok, _ := d.put(next, true); !ok {
		return Fail(l, "no memory")
	}
	l.Push(lua.LNumber(len(next.list)))
	return 1
}

func pop(l *lua.LState, d *Dict, left bool) int {
	e, ok := d.get(ArgText(l, 2))
	if !ok || len(e.list) == 0 {
		l.Push(lua.LNil)
		return 1
	}
	i := len(e.list) - 1
	if left {
		i = 0
	}
	v := e.list[i]
	rest := append(append([]lua.LValue(nil), e.list[:i]...), e.list[i+1:]...)
	d.remove(d.m[e.key])
	if len(rest) > 0 {
		d.put(&entry{key: e.key, value: lua.LNil, list: rest}, true)
	}
	l.Push(v)
	return 1
}
