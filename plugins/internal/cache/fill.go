package cache

import (
	"hash/crc32"
	"io"
	"os"
	"slices"
	"time"

	"sluice/gateway/wire"
)

// drainTime is how long the rest of a body is waited for that the client does
// not need (any more), for the zone alone.
const drainTime = 10 * time.Second

// Fill puts e into the zone with the body of resp, as it passes: nothing is
// held up. A body that fails, ends early or is longer than limit bytes is not
// stored. e.Stored and e.Expires count from the end of the body: valid is how
// long e is good for.
func (z *Zone) Fill(e *Entry, t Ticket, resp *wire.Response, limit int64, valid time.Duration) {
	e.memory = e.weigh()
	f := &fill{z: z, e: e, t: t, resp: resp, length: resp.ContentLength, valid: valid, limit: min(limit, z.o.Memory-e.memory)}
	if z.disk != nil {
		f.limit = min(limit, z.o.Disk-blockSize-e.memory)
	}
	if z.disk != nil && !z.disk.ok {
		return
	}
	if resp.ContentLength > f.limit || e.memory > min(z.o.Memory, maxHead) {
		return
	}
	if resp.Body == nil || resp.ContentLength == 0 {
		if f.begin() {
			f.end()
		}
		return
	}
	if f.begin() {
		f.src, resp.Body = resp.Body, f
	}
}

// fill is a body on its way to the client, and into the zone.
type fill struct {
	z     *Zone
	e     *Entry
	t     Ticket
	resp  *wire.Response
	src   io.ReadCloser
	valid time.Duration
	limit int64
	// length is what was announced: the response may become one of a part of it.
	length int64

	n    int64
	buf  []byte   // in memory
	file *os.File // on disk
	sum  uint32
	over bool // nothing is stored any more, or all is
}

// firstRoom is how much memory is taken for a body of unknown length at first.
const firstRoom = 4 << 10

func (f *fill) begin() bool {
	if f.z.disk == nil {
		f.buf = make([]byte, 0, max(0, min(f.resp.ContentLength, 1<<20)))
		if f.resp.ContentLength < 0 {
			f.buf = make([]byte, 0, firstRoom)
		}
		return true
	}
	file, err := f.z.disk.create(f.e)
	if err != nil {
		f.failed(err)
		return false
	}
	f.file = file
	f.e.memory = f.e.weigh() // with the name of the file
	if _, err = file.Seek(f.headSize(), io.SeekStart); err != nil {
		f.failed(err)
		return false
	}
	return true
}

func (f *fill) headSize() int64 {
	return int64(prefix + len(f.e.appendHead(make([]byte, 0, f.e.memory))))
}

func (f *fill) Read(p []byte) (int, error) {
	n, err := f.src.Read(p)
	if f.over {
		return n, err
	}
	f.add(p[:n])
	switch {
	case f.over || err == nil:
	case err == io.EOF:
		f.end()
	default:
		f.abandon()
	}
	return n, err
}

func (f *fill) add(p []byte) {
	f.n += int64(len(p))
	held, room := f.z.filling.Add(int64(len(p))), f.z.o.Memory
	if f.file != nil {
		room = f.z.o.Disk
	}
	if f.n > f.limit || held > room {
		f.abandon()
		return
	}
	if f.file == nil {
		f.buf = append(f.buf, p...)
		return
	}
	f.sum = crc32.Update(f.sum, table, p)
	if _, err := f.file.Write(p); err != nil {
		f.failed(err)
	}
}

// end stores the response if its body is complete.
func (f *fill) end() {
	if f.length >= 0 && f.length != f.n || f.resp.Trailer.Len() > 0 {
		f.abandon()
		return
	}
	e, now := f.e, f.z.o.Now()
	e.Length, e.Stored, e.Expires = f.n, now.UnixNano(), now.Add(f.valid).UnixNano()
	if f.file == nil {
		if e.body = f.buf; cap(e.body)-len(e.body) > len(e.body)/8 {
			e.body = slices.Clone(e.body)
		}
		e.memory += int64(cap(e.body))
	} else {
		e.size = blocks(f.headSize() + f.n)
		if err := f.z.disk.commit(f.file, e, f.sum); err != nil {
			f.failed(err)
			return
		}
	}
	if !f.z.insert(e, &f.t) && f.file != nil {
		f.z.disk.remove([]*Entry{e})
	}
	f.release()
}

// release gives back what was held on the way.
func (f *fill) release() {
	f.z.filling.Add(-f.n)
	f.over, f.buf, f.n = true, nil, 0
}

func (f *fill) abandon() {
	if f.file != nil {
		f.file.Close()
		_ = os.Remove(f.file.Name()) // what stays is removed at the next start
	}
	f.release()
}

// failed is for a disk that does not do its work: the response passes uncached.
func (f *fill) failed(err error) {
	f.z.o.Log.Error("response not stored in the cache", "zone", f.z.o.Name, "err", err)
	f.abandon()
}

// Close reads what the client had no use for into the zone: it asked with HEAD,
// or for a range, or has gone.
func (f *fill) Close() error {
	if !f.over {
		var trash [8 << 10]byte
		for end := f.z.o.Now().Add(drainTime); !f.over && f.z.o.Now().Before(end); {
			if _, err := f.Read(trash[:]); err != nil {
				break
			}
		}
		if !f.over {
			f.abandon()
		}
	}
	return f.src.Close()
}
