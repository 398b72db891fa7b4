package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/gateway/wire"
)

// Entry is a stored response. What is exported never changes: it may be used
// without a copy, also after the entry left the zone.
type Entry struct {
	Status  int
	Header  wire.Header   // end-to-end fields, without Content-Length
	Length  int64         // of the body, in bytes
	Stored  int64         // when, in nanoseconds of Unix time
	Expires int64         // when its time is over, likewise
	Age     time.Duration // it had already when it came

	key  string
	vary []string
	mark mark
	body []byte // in memory
	file string // on disk
	sum  uint32 // of the file's head

	used atomic.Bool // since it was last looked at

	// Of the zone's list.
	prev, next   *Entry
	gone         bool
	placed       int64
	memory, size int64 // bytes in memory and on disk
}

// NewEntry is an entry for a response to r under key. It owns all its memory. keep
// says which of the fields of header are kept.
func NewEntry(key []byte, r *wire.Request, extra string, vary []string, status int, header *wire.Header, keep func(name string) bool) *Entry {
	e := &Entry{Status: status, key: string(key), mark: sign(vary, r, extra)}
	for _, name := range vary {
		e.vary = append(e.vary, strings.Clone(name))
	}
	for name, value := range header.All() {
		if keep(name) {
			e.Header.Add(strings.Clone(name), strings.Clone(value))
		}
	}
	return e
}

// weigh counts the memory of all but the body.
func (e *Entry) weigh() int64 {
	n := overhead + len(e.key) + len(e.file)
	for name, value := range e.Header.All() {
		n += len(name) + len(value) + 32
	}
	for _, name := range e.vary {
		n += len(name) + 16
	}
	return int64(n)
}

// mark tells the variants of one key apart.
type mark [16]byte

var texts = sync.Pool{New: func() any { return new([]byte) }}

// sign is the mark of requests like r where responses vary by the fields called
// vary. Every value is followed by its length, so that no two requests that
// differ are written alike; an absent field is not an empty one.
func sign(vary []string, r *wire.Request, extra string) mark {
	if len(vary) == 0 && extra == "" {
		return mark{}
	}
	text := texts.Get().(*[]byte)
	b := AppendPart((*text)[:0], extra)
	for _, name := range vary {
		b = append(b, 0)
		if name == "host" {
			b = AppendPart(b, r.Host)
			continue
		}
		for i := range r.Header.Len() {
			if f := r.Header.At(i); wire.EqualFold(f.Name, name) {
				b = AppendPart(append(b, 1), f.Value)
			}
		}
	}
	sum := sha256.Sum256(b)
	*text = b[:0]
	texts.Put(text)
	return mark(sum[:16])
}

// AppendPart appends one part of a key and what sets it apart from the next, so
// that different lists of parts never make the same key.
func AppendPart(b []byte, part string) []byte {
	return binary.BigEndian.AppendUint32(append(b, part...), uint32(len(part)))
}

// maxVary is how many fields a response may vary by.
const maxVary = 32

// Vary reads the fields called Vary: the names in lower case, sorted, each once.
// ok is false for a response that varies by what no cache can know ("*") or by
// too much.
func Vary(h *wire.Header) (names []string, ok bool) {
	for i := range h.Len() {
		f := h.At(i)
		if !wire.EqualFold(f.Name, "Vary") {
			continue
		}
		for name := range strings.SplitSeq(f.Value, ",") {
			if name = strings.ToLower(strings.Trim(name, " \t")); name == "*" {
				return nil, false
			} else if name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names, len(names) <= maxVary
}

// appendHead writes all of e but the body. Its length does not depend on what is
// known only after the body.
func (e *Entry) appendHead(b []byte) []byte {
	for _, n := range []int64{int64(e.Status), e.Stored, e.Expires, int64(e.Age), e.Length} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, e.mark[:]...)
	b = appendText(b, e.key)
	b = binary.AppendUvarint(b, uint64(len(e.vary)))
	for _, name := range e.vary {
		b = appendText(b, name)
	}
	b = binary.AppendUvarint(b, uint64(e.Header.Len()))
	for name, value := range e.Header.All() {
		b = appendText(appendText(b, name), value)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// parseHead reads what appendHead wrote.
func parseHead(b []byte) (*Entry, error) {
	d := &decoder{b: b}
	e := &Entry{Status: int(d.number()), Stored: d.number(), Expires: d.number(), Age: time.Duration(d.number()), Length: d.number()}
	copy(e.mark[:], d.bytes(uint64(len(e.mark))))
	e.key = d.text()
	for range d.count() {
		e.vary = append(e.vary, d.text())
	}
	for range d.count() {
		e.Header.Add(d.text(), d.text())
	}
	if d.bad || len(d.b) != 0 || e.Length < 0 || e.Status < 200 || e.Status > 599 {
		return nil, errDamaged
	}
	return e, nil
}

// decoder reads a head; once it is bad it yields zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) number() int64 {
	if b := d.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is a number of items: each takes a byte at least.
func (d *decoder) count() int {
	if n := d.uint(); !d.bad && n <= uint64(len(d.b)) {
		return int(n)
	}
	d.bad = true
	return 0
}

func (d *decoder) bytes(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.uint())) }
