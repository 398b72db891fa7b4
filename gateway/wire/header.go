package wire

import (
	"iter"
	"unsafe"
)

// Field is one header field. Both strings may point into a connection's read
// buffer: they are valid until the exchange ends, and whoever keeps one longer
// must strings.Clone it.
type Field struct {
	Name  string // as received or as set; case is kept
	Value string // without surrounding white space

	// line is the length of the whole field line in the read buffer, from the
	// first byte of Name to its CRLF, when the line may be sent on as it came:
	// "Name: value", checked by the parser and end-to-end. Else 0.
	line uint32
	own  bool // set by SetOwn: fit to be written as it is
}

// Header is an ordered list of header fields. Order and case are kept as
// received. The zero value is an empty header ready for use. Look-ups compare
// names without case and scan from the first field: messages have few fields,
// and a scan of a flat list beats a map at that size. Not safe for concurrent use.
type Header struct {
	fields []Field
}

// Get returns the value of the first field called name, or "".
func (h *Header) Get(name string) string {
	if i := h.index(name); i >= 0 {
		return h.fields[i].Value
	}
	return ""
}

// Lookup is Get that tells an absent field from an empty one.
func (h *Header) Lookup(name string) (string, bool) {
	if i := h.index(name); i >= 0 {
		return h.fields[i].Value, true
	}
	return "", false
}

// Has reports whether a field called name is present.
func (h *Header) Has(name string) bool { return h.index(name) >= 0 }

// Values returns the values of all fields called name, in order. It allocates
// when there is at least one; use Each on the request path.
func (h *Header) Values(name string) []string {
	var vs []string
	for _, f := range h.fields {
		if EqualFold(f.Name, name) {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

// Set makes value the only value of name. The first field of that name keeps
// its place and takes name's case; further ones are removed.
func (h *Header) Set(name, value string) {
	i := h.index(name)
	if i < 0 {
		h.Add(name, value)
		return
	}
	h.fields[i] = Field{Name: name, Value: value}
	h.delFrom(i+1, name)
}

// SetOwn is Set for those who know that name is a token and that value holds no
// control characters: both are written without another look.
func (h *Header) SetOwn(name, value string) {
	i := h.index(name)
	if i < 0 {
		h.AddOwn(name, value)
		return
	}
	h.fields[i] = Field{Name: name, Value: value, own: true}
	h.delFrom(i+1, name)
}

// AddOwn is Add, as SetOwn is Set.
func (h *Header) AddOwn(name, value string) {
	h.fields = append(h.fields, Field{Name: name, Value: value, own: true})
}

// NameAt returns the name of field i, 0 ≤ i < Len.
func (h *Header) NameAt(i int) string { return h.fields[i].Name }

// Add appends a field.
func (h *Header) Add(name, value string) {
	h.fields = append(h.fields, Field{Name: name, Value: value})
}

// Del removes every field called name and reports whether there was one.
func (h *Header) Del(name string) bool {
	n := len(h.fields)
	h.delFrom(0, name)
	return len(h.fields) != n
}

// Len is the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// At returns field i, 0 ≤ i < Len.
func (h *Header) At(i int) Field { return h.fields[i] }

// All walks the fields in order. The header must not be changed meanwhile.
func (h *Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range h.fields {
			if !yield(f.Name, f.Value) {
				return
			}
		}
	}
}

// Reset empties the header and keeps its memory.
func (h *Header) Reset() {
	clear(h.fields)
	h.fields = h.fields[:0]
}

// verbatim returns the field lines from i on that may be sent as they came and
// follow each other in the read buffer, and the index of the field behind them:
// most of a message is copied in one piece.
func verbatim(fields []Field, i int) (lines []byte, next int) {
	start, n := unsafe.StringData(fields[i].Name), uintptr(fields[i].line)
	for i++; i < len(fields) && fields[i].line != 0 &&
		uintptr(unsafe.Pointer(unsafe.StringData(fields[i].Name))) == uintptr(unsafe.Pointer(start))+n; i++ {
		n += uintptr(fields[i].line)
	}
	return unsafe.Slice(start, n), i
}

// fieldsOf is the fields of a header that may be nil.
func (h *Header) fieldsOf() []Field {
	if h == nil {
		return nil
	}
	return h.fields
}

func (h *Header) index(name string) int {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			return i
		}
	}
	return -1
}

func (h *Header) delFrom(i int, name string) {
	kept := h.fields[:i]
	for _, f := range h.fields[i:] {
		if !EqualFold(f.Name, name) {
			kept = append(kept, f)
		}
	}
	clear(h.fields[len(kept):])
	h.fields = kept
}

// EqualFold reports whether two field names are the same without ASCII case.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}
