package errorpage

import "strings"

// Types tells the Content-Type of answers that name none. Immutable.
type Types struct {
	byExt map[string]string
	full  map[string]string // a type that lacks its charset → with it
	plain string
	page  string
}

// withCharset are the types that the charset is added to.
var withCharset = map[string]bool{
	"text/html":              true,
	"text/xml":               true,
	"text/plain":             true,
	"text/vnd.wap.wml":       true,
	"application/javascript": true,
	"application/rss+xml":    true,
}

// NewTypes makes the types for one charset ("utf-8"); "" and "off" add none.
func NewTypes(charset string) *Types {
	full := func(typ string) string {
		if withCharset[typ] && charset != "" && charset != "off" {
			return typ + "; charset=" + charset
		}
		return typ
	}
	t := &Types{byExt: map[string]string{}, full: map[string]string{}, plain: full("text/plain"), page: full("text/html")}
	for typ := range withCharset {
		if f := full(typ); f != typ {
			t.full[typ] = f
		}
	}
	for typ, exts := range mimeTypes {
		for ext := range strings.FieldsSeq(exts) {
			t.byExt[ext] = full(typ)
		}
	}
	return t
}

// Page is the type of the pages.
func (t *Types) Page() string { return t.page }

// Complete adds the charset to a Content-Type that names none and should, as
// nginx does to every answer that passes it.
func (t *Types) Complete(typ string) string {
	if f, ok := t.full[typ]; ok {
		return f
	}
	return typ
}

// maxExt is longer than every extension that has a type.
const maxExt = 8

// Of is the type by the extension of a canonical path; text/plain without one.
func (t *Types) Of(path string) string {
	seg := path[strings.LastIndexByte(path, '/')+1:]
	for n := 0; n < 3 && strings.HasPrefix(seg, "."); n++ {
		seg = seg[1:] // a name may begin with dots
	}
	dot := strings.LastIndexByte(seg, '.')
	if dot < 0 || len(seg)-dot > maxExt {
		return t.plain
	}
	var low [maxExt]byte
	ext := low[:copy(low[:], seg[dot+1:])]
	for i, b := range ext {
		if 'A' <= b && b <= 'Z' {
			ext[i] |= 0x20
		}
	}
	if typ, ok := t.byExt[string(ext)]; ok {
		return typ
	}
	return t.plain
}
