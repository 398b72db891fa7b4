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
	at   time.Time // when the clock was read
	mono int64     // the same as nano tells it
}

// set takes over the time.
func (d *dateCache) set(now time.Time) {
	if t := d.p.Load(); t == nil || t.sec != now.Unix() {
		line := "Date: " + now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "\r\n"
		d.p.Store(&dateText{now.Unix(), line, now, int64(now.Sub(epoch))})
	}
}

// line returns "Date: …\r\n".
func (d *dateCache) line() string { return d.p.Load().line }

// wall is the time of day at mono, without reading the clock.
func (d *dateCache) wall(mono int64) time.Time {
	t := d.p.Load()
	return t.at.Add(time.Duration(mono - t.mono))
}
