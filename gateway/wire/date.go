package wire

import (
	"sync/atomic"
	"time"
)

// epoch makes nano monotonic with one reading of the clock per call.
var epoch = time.Now()

// nano is the monotonic time in nanoseconds.
func nano() int64 { return int64(time.Since(epoch)) }

// dateCache holds the Date field of the current second. The sweeper keeps it,
// so that no response reads the clock for it; it may be half a second late.
type dateCache struct{ p atomic.Pointer[dateText] }

type dateText struct {
	sec  int64
	line string
}

// set takes over the time.
func (d *dateCache) set(now time.Time) {
	if t := d.p.Load(); t == nil || t.sec != now.Unix() {
		d.p.Store(&dateText{now.Unix(), "Date: " + now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "\r\n"})
	}
}

// line returns "Date: …\r\n".
func (d *dateCache) line() string { return d.p.Load().line }
