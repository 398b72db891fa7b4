// Package loop watches many connections with few threads. There is one loop for
// each processor; it asks the kernel what happened (epoll) and calls the
// connections concerned, one after the other: no queue is shared, no thread is
// woken, no stack is changed, and a connection stays with the processor whose
// caches know it.
//
// What is called must not wait: it returns, and is called again when there is
// something new. Code that has to wait for anything, or computes for long, keeps
// its loop from the others. It says so beforehand (Turn.Leave), and another
// goroutine goes on with them at once; otherwise a monitor sees to that after
// some milliseconds. The code itself may then do as it likes.
//
// It does not know what the connections are for, nor any protocol.
package loop

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// batchSize is how many events a loop takes from the kernel at once.
const batchSize = 128

// patience is how long a call may keep its loop before another goroutine goes
// on with the others: at least this, at most twice while much is going on, and
// 40 ms otherwise. It is also how often a loop lets other goroutines of its
// processor run: the runtime takes a processor away from who has it for 10 ms.
const patience = 4 * time.Millisecond

// calmly is how seldom the monitor looks while it finds nothing going on, and
// restAfter for how many looks in a row until it stops looking: where little is
// going on, looking would cost more than that.
const (
	calmly    = 8 * patience
	restAfter = 30
)

// Group is a set of loops. Safe for concurrent use.
type Group struct {
	loops  []*Loop
	next   atomic.Uint32
	closed atomic.Bool
	clock  func() int64
	asleep atomic.Bool   // the monitor is
	alarm  chan struct{} // wakes it
}

// Loop calls its connections, one at a time.
type Loop struct {
	id    int
	group *Group
	ep    int // epoll
	bell  int // eventfd: something was posted
	conns table

	turn   atomic.Pointer[Turn] // of the goroutine that runs the loop
	asked  atomic.Bool          // the monitor looked; the loop answers by clearing it
	waits  atomic.Bool          // in the kernel
	now    atomic.Int64         // of the clock, when the last events were taken
	mu     sync.Mutex           // of posted and freed
	posted []*Conn              // whose deadline has passed
	freed  bool                 // the descriptors are others' now

	// What follows belongs to who has the turn.
	n, at  int // of events: received, dealt with
	events [batchSize]syscall.EpollEvent
	writes queue[*Conn] // with something to write
	again  queue[*Conn] // to be called, behind all others
}

// Turn is a goroutine's right to run a loop.
type Turn struct {
	loop  *Loop
	state atomic.Int32
}

// The states of a turn.
const (
	held int32 = iota // the loop's own code runs
	lent              // a connection's does; the turn may be passed on
	over              // another goroutine has the loop now
)

// New starts n loops, whose time is the clock's.
func New(n int, clock func() int64) (*Group, error) {
	g := &Group{clock: clock, alarm: make(chan struct{}, 1)}
	for id := range n {
		l, err := newLoop(g, id)
		if err != nil {
			for _, l := range g.loops {
				l.free()
			}
			return nil, err
		}
		g.loops = append(g.loops, l)
	}
	for _, l := range g.loops {
		go l.run(l.turn.Load())
	}
	go g.monitor()
	return g, nil
}

func newLoop(g *Group, id int) (*Loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	bell, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		_ = syscall.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", errno)
	}
	l := &Loop{id: id, group: g, ep: ep, bell: int(bell)}
	l.turn.Store(&Turn{loop: l})
	if err := l.watch(l.bell, syscall.EPOLLIN); err != nil {
		l.free()
		return nil, err
	}
	return l, nil
}

// edge is EPOLLET: an event for each change, not as long as there is something.
const edge = 1 << 31

func (l *Loop) watch(fd int, events uint32) error {
	ev := syscall.EpollEvent{Events: events | edge, Fd: int32(fd)}
	if err := syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (l *Loop) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freed = true
	_ = syscall.Close(l.ep)
	_ = syscall.Close(l.bell)
}

// Close ends the loops. No connection is called any more.
func (g *Group) Close() {
	if g.closed.Swap(true) {
		return
	}
	for _, l := range g.loops {
		l.post(nil)
	}
	g.rouse()
}

// Next is the loop for a new connection: each in turn.
func (g *Group) Next() *Loop { return g.loops[g.next.Add(1)%uint32(len(g.loops))] }

// ID numbers the loops of a group from 0.
func (l *Loop) ID() int { return l.id }

// run is the life of a goroutine that has the turn.
func (l *Loop) run(me *Turn) {
	for {
		for l.at < l.n {
			fd := int(l.events[l.at].Fd)
			l.at++
			if fd == l.bell {
				l.answer()
			} else if c := l.conns.get(fd); c != nil && c.fire() && !l.drive(c, me) {
				return
			}
		}
		for l.writes.len() > 0 {
			if c := l.writes.pop(); !c.flush() || !c.await() {
				l.again.push(c)
			}
		}
		// Those that come in meanwhile wait for new events as well.
		for n := l.again.len(); n > 0; n-- {
			if !l.drive(l.again.pop(), me) {
				return
			}
		}
		if l.group.closed.Load() {
			l.free()
			return
		}
		if l.asked.Load() {
			l.asked.Store(false)
			runtime.Gosched()
		}
		l.receive()
	}
}

// receive takes events, and waits for some if there is nothing else to do.
func (l *Loop) receive() {
	wait := -1
	if l.again.len() > 0 || l.writes.len() > 0 {
		wait = 0
	}
	l.waits.Store(true)
	n, err := syscall.EpollWait(l.ep, l.events[:], wait)
	l.waits.Store(false)
	l.now.Store(l.group.clock())
	if l.group.asleep.Load() {
		l.group.rouse()
	}
	if err != nil && err != syscall.EINTR {
		panic(fmt.Sprintf("epoll_wait: %v", err)) // the descriptor is ours: it cannot fail
	}
	l.n, l.at = max(n, 0), 0
}

// answer takes what was posted.
func (l *Loop) answer() {
	var b [8]byte
	_, _ = syscall.Read(l.bell, b[:])
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.posted {
		if c.fire() {
			l.again.push(c)
		}
		l.posted[i] = nil
	}
	l.posted = l.posted[:0]
}

// post has the loop look at c, if any.
func (l *Loop) post(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.freed {
		return // nobody waits any more
	}
	if c != nil {
		l.posted = append(l.posted, c)
	}
	_, _ = syscall.Write(l.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full is rung, too
}

// drive calls c; false when the turn is over.
func (l *Loop) drive(c *Conn, me *Turn) bool {
	me.state.Store(lent)
	c = c.ready(me)
	if !me.state.CompareAndSwap(lent, held) {
		c.finish(me)
		return false
	}
	switch {
	case c == nil:
	case c.out != nil:
		l.writes.push(c)
	case !c.await():
		l.again.push(c)
	}
	return true
}

// finish is the rest of drive for a goroutine that has lost its turn: what is
// called goes on until it waits, and is left to the loop.
func (c *Conn) finish(me *Turn) {
	for c != nil && (!c.flush() || !c.await()) {
		c = c.ready(me)
	}
}

// Leave is to be called before what may take long, or waits: another goroutine
// runs the loop from now on.
func (t *Turn) Leave() {
	if !t.state.CompareAndSwap(lent, over) {
		return
	}
	next := &Turn{loop: t.loop}
	t.loop.turn.Store(next)
	go t.loop.run(next)
}

// Now is a recent time of the group's clock. While a loop deals with the events
// of one moment it is the same for all of them, as in nginx: reading a clock
// takes its time. Who has left the loop reads it anew.
func (t *Turn) Now() int64 {
	if t.state.Load() == over {
		return t.loop.group.clock()
	}
	return t.loop.now.Load()
}

// monitor passes on the turn of calls that do not come to an end.
func (g *Group) monitor() {
	next := time.NewTimer(patience)
	defer next.Stop()
	quiet, every := 0, patience
	for !g.closed.Load() {
		select {
		case <-g.alarm:
		case <-next.C:
		}
		quiet, every = quiet+1, min(2*every, calmly)
		for _, l := range g.loops {
			if l.look() {
				quiet, every = 0, patience
			}
		}
		if quiet > restAfter {
			g.rest()
			quiet, every = 0, patience
		}
		next.Reset(every)
	}
}

// rest waits until something is going on.
func (g *Group) rest() {
	g.asleep.Store(true)
	for _, l := range g.loops { // a loop looks in the other order
		if !l.waits.Load() {
			g.asleep.Store(false)
			return
		}
	}
	if !g.closed.Load() {
		<-g.alarm
	}
}

// look says whether something is going on. Called by the monitor only.
func (l *Loop) look() bool {
	if l.waits.Load() {
		return false
	}
	if l.asked.Swap(true) {
		l.turn.Load().Leave()
	}
	return true
}

func (g *Group) rouse() {
	if g.asleep.CompareAndSwap(true, false) || g.closed.Load() {
		select {
		case g.alarm <- struct{}{}:
		default:
		}
	}
}

// queue is a first-in first-out list that keeps its memory.
type queue[T any] struct {
	items []T
	first int
}

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) push(v T) {
	if q.first > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.first]
	q.items[q.first] = zero
	if q.first++; q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
	}
	return v
}

// table finds connections by descriptor. Reading takes no lock.
type table struct {
	mu   sync.Mutex
	rows atomic.Pointer[[]*row]
}

const rowSize = 512

type row [rowSize]atomic.Pointer[Conn]

func (t *table) get(fd int) *Conn {
	rows := t.rows.Load()
	if rows == nil || fd/rowSize >= len(*rows) {
		return nil
	}
	return (*rows)[fd/rowSize][fd%rowSize].Load()
}

// set must be called before the descriptor is watched, and with nil before it
// is closed.
func (t *table) set(fd int, c *Conn) {
	rows := t.rows.Load()
	if rows == nil || fd/rowSize >= len(*rows) {
		rows = t.grow(fd)
	}
	(*rows)[fd/rowSize][fd%rowSize].Store(c)
}

func (t *table) grow(fd int) *[]*row {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []*row
	if have := t.rows.Load(); have != nil {
		rows = append(rows, *have...)
	}
	for len(rows) <= fd/rowSize {
		rows = append(rows, new(row))
	}
	t.rows.Store(&rows)
	return &rows
}
