package wire

import (
	"bytes"
	"strings"
)

func indexByte(b []byte, c byte) int { return bytes.IndexByte(b, c) }

// parse reads a complete request head. Strings of r point into b.
func (r *Request) parse(b []byte, f *framing) *violation {
	line := indexByte(b, '\n')
	if line < 1 {
		return errRequestLine
	}
	if v := r.requestLine(b[:line-1]); v != nil {
		return v
	}
	r.Host = ""
	authority := ""
	if r.Target[0] != '/' && r.Target != "*" {
		var v *violation
		if authority, v = r.absolute(); v != nil {
			return v
		}
	}
	if v := f.fields(b[line+1:], &r.Header, &r.Host); v != nil {
		return v
	}
	if v := r.checkHost(f, authority); v != nil {
		return v
	}
	if v := f.frame(r.Minor); v != nil {
		return v
	}
	r.Size = int64(len(b))
	r.Upgrade = ""
	if f.upgrade && r.Minor == 1 && all(f.proto, inToken) && !EqualFold(f.proto, "h2c") {
		r.Upgrade = f.proto
	}
	switch {
	case f.chunked:
		r.ContentLength = -1
	default:
		r.ContentLength = max(f.length, 0)
	}
	if r.Method == "CONNECT" || r.Method == "TRACE" {
		return errNotAllowed
	}
	return nil
}

// requestLine splits METHOD SP target SP HTTP/1.x.
func (r *Request) requestLine(b []byte) *violation {
	i := 0
	for i < len(b) && classes[b[i]]&inMethod != 0 {
		i++
	}
	if i == 0 || i > 32 || i == len(b) || b[i] != ' ' {
		return errMethod
	}
	r.Method = text(b[:i])
	rest := b[i+1:]
	i = 0
	for i < len(rest) && classes[rest[i]]&inTarget != 0 {
		i++
	}
	if i == 0 || i < len(rest) && rest[i] != ' ' {
		return errTarget
	}
	r.Target = text(rest[:i])
	if i == len(rest) {
		return errRequestLine // HTTP/0.9
	}
	return r.version(rest[i+1:])
}

func (r *Request) version(b []byte) *violation {
	r.Major, r.Minor = 1, 1
	switch text(b) {
	case "HTTP/1.1":
		return r.checkTarget()
	case "HTTP/1.0":
		r.Minor = 0
		return r.checkTarget()
	}
	if len(b) == 8 && text(b[:5]) == "HTTP/" && b[5]-'0' <= 9 && b[6] == '.' && b[7]-'0' <= 9 {
		return errNotHTTP1
	}
	return errVersion
}

func (r *Request) checkTarget() *violation {
	switch t := r.Target; {
	case r.Method == "CONNECT":
		return errNotAllowed
	case t[0] == '/':
		return nil
	case t == "*" && r.Method == "OPTIONS":
		return nil
	case hasPrefixFold(t, "http://"), hasPrefixFold(t, "https://"):
		return nil
	}
	return errTarget
}

// absolute reduces an absolute-form target to its path and query.
func (r *Request) absolute() (authority string, v *violation) {
	t := r.Target
	t = t[strings.IndexByte(t, ':')+3:]
	i := 0
	for i < len(t) && t[i] != '/' && t[i] != '?' {
		i++
	}
	if !validHost(t[:i]) {
		return "", errTarget
	}
	switch {
	case i == len(t):
		r.Target = "/"
		if r.Method == "OPTIONS" {
			r.Target = "*"
		}
	case t[i] == '?':
		r.Target = "/" + t[i:]
	default:
		r.Target = t[i:]
	}
	return t[:i], nil
}

func (r *Request) checkHost(f *framing, authority string) *violation {
	if f.hosts == 0 {
		if r.Minor == 1 {
			return errNoHost
		}
		r.Host = authority
		return nil
	}
	if !validHost(r.Host) {
		return errHost
	}
	if authority != "" {
		r.Host = authority // RFC 9112 3.2.2: the target wins
	}
	return nil
}

// parse reads a complete response head into r. Strings point into b.
func (r *Response) parse(b []byte, f *framing) (minor int, v *violation) {
	line := indexByte(b, '\n')
	if line < 13 || text(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return 0, errStatusLine
	}
	minor = int(b[7] - '0')
	s := b[9 : line-1]
	if len(s) < 3 || s[0] < '1' || s[0] > '9' || s[1]-'0' > 9 || s[2]-'0' > 9 ||
		len(s) > 3 && (s[3] != ' ' || control(s) != len(s)) {
		return 0, errStatusLine
	}
	r.Status = int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	if v := f.fields(b[line+1:], &r.Header, nil); v != nil {
		return 0, v
	}
	if v := f.frame(minor); v != nil {
		return 0, v
	}
	if r.Status == 101 && f.proto != "" {
		r.Header.Add("Upgrade", f.proto)
	}
	return minor, nil
}
