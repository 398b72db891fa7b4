package wire

import (
	"sync/atomic"
	"time"
)

// epoch makes nano monotonic with one reading of the clock per call.
var epoch = time.Now()

// nano is the monotonic time in nanoseconds.
func nano() int64 { return int64(time.Since(epoch)) }

// dateCache holds the Date field of the current second.
type dateCache struct{ p atomic.Pointer[dateText] }

type dateText struct {
	sec  int64
	line string
}

// line returns "Date: …\r\n".
func (d *dateCache) line() string {
	now := time.Now()
	t := d.p.Load()
	if t == nil || t.sec != now.Unix() {
		t = &dateText{now.Unix(), "Date: " + now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "\r\n"}
		d.p.Store(t)
	}
	return t.line
}
