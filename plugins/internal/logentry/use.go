package logentry

import "sluice/plugins"

// Use hands the entry of a request that has ended to f, which must not keep it:
// for those who copy it anyway.
func (l *Log) Use(c *plugins.Ctx, f func(entry []byte)) {
	p := buffers.Get().(*[]byte)
	b := l.Append((*p)[:0], c)
	f(b)
	if cap(b) <= maxKept {
		*p = b
	}
	buffers.Put(p)
}
