package wire

import "unsafe"

// violation is a breach of the protocol, with the status to answer it with.
// They are values made once: refusing a message must not cost memory.
type violation struct {
	status int
	text   string
	big    bool // a limit was exceeded
}

func (v *violation) Error() string { return v.text }

var (
	errBareLF      = &violation{status: 400, text: "line ends without CR"}
	errRequestLine = &violation{status: 400, text: "malformed request line"}
	errMethod      = &violation{status: 400, text: "invalid method"}
	errTarget      = &violation{status: 400, text: "invalid request target"}
	errVersion     = &violation{status: 400, text: "malformed HTTP version"}
	errNotHTTP1    = &violation{status: 505, text: "HTTP version not supported"}
	errNotAllowed  = &violation{status: 405, text: "method not allowed by the server"}
	errFieldName   = &violation{status: 400, text: "invalid field name"}
	errFieldValue  = &violation{status: 400, text: "invalid character in field value"}
	errHost        = &violation{status: 400, text: "invalid host"}
	errNoHost      = &violation{status: 400, text: "HTTP/1.1 request without Host"}
	errTwoHosts    = &violation{status: 400, text: "more than one Host"}
	errLength      = &violation{status: 400, text: "invalid Content-Length"}
	errTwoLengths  = &violation{status: 400, text: "differing Content-Length fields"}
	errBothFrames  = &violation{status: 400, text: "both Content-Length and Transfer-Encoding"}
	errCoding      = &violation{status: 400, text: "unknown Transfer-Encoding"}
	errCodingOld   = &violation{status: 400, text: "Transfer-Encoding in HTTP/1.0"}
	errStatusLine  = &violation{status: 502, text: "malformed status line"}
	errSwitch      = &violation{status: 502, text: "101 that nobody asked for"}
	errLineTooLong = &violation{status: 414, text: "request line too long", big: true}
	errTooLarge    = &violation{status: 400, text: "header too large", big: true}
	errTooMany     = &violation{status: 400, text: "too many header fields", big: true}
	errChunk       = &violation{status: 400, text: "malformed chunk"}
	errChunkSize   = &violation{status: 400, text: "chunk too large"}
	errChunkExt    = &violation{status: 400, text: "chunk extension too long", big: true}
	errTrailer     = &violation{status: 400, text: "trailer too large", big: true}
)

// headScan finds the end of a head in a growing buffer, looking at each byte once.
type headScan struct {
	line int // start of the current line
	pos  int // first byte not looked at
	rows int // complete lines so far
}

// headLimits are what a head may measure, in bytes; fields is a count.
type headLimits struct{ first, line, total, fields int }

// find returns the length of the head with its empty line, 0 while it is not
// complete. The first line of b is the start line.
func (s *headScan) find(b []byte, lim *headLimits) (int, *violation) {
	for {
		i := indexByte(b[s.pos:], '\n')
		if i < 0 {
			s.pos = len(b)
			return 0, s.check(len(b)-s.line, len(b), lim)
		}
		i += s.pos
		if i == 0 || b[i-1] != '\r' {
			return 0, errBareLF
		}
		if v := s.check(i+1-s.line, i+1, lim); v != nil {
			return 0, v
		}
		if i-1 == s.line {
			return i + 1, nil
		}
		s.rows++
		s.line, s.pos = i+1, i+1
	}
}

func (s *headScan) check(line, total int, lim *headLimits) *violation {
	switch {
	case s.rows == 0 && line > lim.first:
		return errLineTooLong
	case s.rows > 0 && line > lim.line, total > lim.total:
		return errTooLarge
	case s.rows > lim.fields+1:
		return errTooMany
	}
	return nil
}

// framing is what the hop-by-hop fields of a head said.
type framing struct {
	length    int64 // Content-Length, -1 for none
	chunked   bool
	coding    bool // there was a Transfer-Encoding
	close     bool
	keepAlive bool
	upgrade   bool // Connection names upgrade
	expect    bool
	hosts     int
	nominated bool // Connection names further fields
	conns     [4]string
	nconns    int
	proto     string // Upgrade
	trailers  bool   // TE names trailers
}

// fields reads the field lines of a head (each ends with CRLF, an empty line
// ends them) into h, keeping hop-by-hop fields to itself. host gets the Host
// field of a request; it is nil for responses.
func (f *framing) fields(b []byte, h *Header, host *string) *violation {
	f.length = -1
	for len(b) > 2 {
		name, value, n, v := field(b)
		if v != nil {
			return v
		}
		b = b[n:]
		kind := hop(name)
		if kind == hopNone {
			h.fields = append(h.fields, Field{Name: name, Value: value, line: plainLine(name, value, n)})
			continue
		}
		kept, v := f.note(kind, &value, host)
		if v != nil {
			return v
		}
		if kept {
			h.fields = append(h.fields, Field{Name: name, Value: value})
		}
	}
	if f.nominated {
		f.dropNominated(h)
	}
	return nil
}

// plainLine is n, the length of a field's line, if it is written as we would
// write it and is none that the writers look at: those are Date and Trailer.
func plainLine(name, value string, n int) uint32 {
	if n != len(name)+len(value)+4 || value == "" || text(unsafe.Slice(unsafe.StringData(name), len(name)+2)[len(name):]) != ": " {
		return 0
	}
	switch len(name) {
	case 4, 7:
		if EqualFold(name, "Date") || EqualFold(name, "Trailer") {
			return 0
		}
	}
	return uint32(n)
}

// field reads one field line and returns its length.
func field(b []byte) (name, value string, n int, v *violation) {
	i := 0
	for i < len(b) && classes[b[i]]&inToken != 0 {
		i++
	}
	if i == 0 || i == len(b) || b[i] != ':' {
		return "", "", 0, errFieldName
	}
	name = text(b[:i])
	i++
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	end := i + control(b[i:])
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return "", "", 0, errFieldValue
	}
	n = end + 2
	for end > i && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	return name, text(b[i:end]), n, nil
}

// note takes in what a field means for the connection and says whether the
// field is end-to-end.
func (f *framing) note(kind hopKind, value *string, host *string) (keep bool, v *violation) {
	switch kind {
	case hopHost:
		if host == nil {
			return true, nil
		}
		if f.hosts++; f.hosts > 1 {
			return false, errTwoHosts
		}
		*host = *value
	case hopLength:
		n, ok := parseLength(*value)
		if !ok {
			return false, errLength
		}
		if f.length >= 0 {
			if f.length != n {
				return false, errTwoLengths
			}
			return false, nil
		}
		f.length = n
		return host != nil, nil
	case hopCoding:
		if f.coding || !EqualFold(*value, "chunked") {
			return false, errCoding
		}
		f.coding, f.chunked = true, true
	case hopConnection:
		f.connection(*value)
	case hopUpgrade:
		f.proto = *value
	case hopExpect:
		f.expect = f.expect || EqualFold(*value, "100-continue")
	case hopTE:
		return f.te(value), nil
	}
	return false, nil
}

// te keeps the one thing of TE that may cross a hop.
func (f *framing) te(value *string) bool {
	for tok, rest := nextToken(*value); tok != "" || rest != ""; tok, rest = nextToken(rest) {
		if EqualFold(tok, "trailers") && !f.trailers {
			f.trailers = true
			*value = "trailers"
			return true
		}
	}
	return false
}

func (f *framing) connection(value string) {
	if f.nconns < len(f.conns) {
		f.conns[f.nconns] = value
		f.nconns++
	}
	for tok, rest := nextToken(value); tok != "" || rest != ""; tok, rest = nextToken(rest) {
		switch {
		case EqualFold(tok, "close"):
			f.close = true
		case EqualFold(tok, "keep-alive"):
			f.keepAlive = true
		case EqualFold(tok, "upgrade"):
			f.upgrade = true
		case tok != "" && !EqualFold(tok, "te"):
			f.nominated = true
		}
	}
}

// dropNominated removes the fields that Connection names, except those that
// others rely on for security: a client must not make them vanish.
func (f *framing) dropNominated(h *Header) {
	for _, list := range f.conns[:f.nconns] {
		for tok, rest := nextToken(list); tok != "" || rest != ""; tok, rest = nextToken(rest) {
			if tok != "" && !protected(tok) {
				h.Del(tok)
			}
		}
	}
}

var protectedNames = [...]string{
	"Authorization", "Cookie", "Set-Cookie", "Content-Length", "Content-Type", "Content-Encoding",
	"Host", "Forwarded", "Via", "Origin", "X-Real-IP", "X-Request-Id", "Traceparent", "TE", "Trailer",
	"Proxy-Authorization", "Proxy-Authenticate", "WWW-Authenticate", "Cache-Control", "Strict-Transport-Security",
}

func protected(name string) bool {
	for _, p := range protectedNames {
		if EqualFold(p, name) {
			return true
		}
	}
	return hasPrefixFold(name, "x-forwarded-") || hasPrefixFold(name, "x-consumer-") ||
		hasPrefixFold(name, "x-credential-") || hasPrefixFold(name, "access-control-") ||
		hasPrefixFold(name, "sec-")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && EqualFold(s[:len(prefix)], prefix)
}

// frame checks the framing fields against each other.
func (f *framing) frame(minor int) *violation {
	switch {
	case f.coding && minor == 0:
		return errCodingOld
	case f.coding && f.length >= 0:
		return errBothFrames
	}
	return nil
}

// persistent reports whether the sender keeps the connection open.
func (f *framing) persistent(minor int) bool {
	if minor == 0 {
		return f.keepAlive && !f.close
	}
	return !f.close
}

// hopKind tells the fields that concern the connection from all others.
type hopKind uint8

const (
	hopNone hopKind = iota
	hopHost
	hopLength
	hopCoding
	hopConnection
	hopUpgrade
	hopExpect
	hopTE
	hopOther // Keep-Alive, Proxy-Connection, HTTP2-Settings
)

func hop(name string) hopKind {
	switch len(name) {
	case 2:
		return is(name, "TE", hopTE)
	case 4:
		return is(name, "Host", hopHost)
	case 6:
		return is(name, "Expect", hopExpect)
	case 7:
		return is(name, "Upgrade", hopUpgrade)
	case 10:
		if name[0]|0x20 == 'c' {
			return is(name, "Connection", hopConnection)
		}
		return is(name, "Keep-Alive", hopOther)
	case 14:
		if name[0]|0x20 == 'c' {
			return is(name, "Content-Length", hopLength)
		}
		return is(name, "HTTP2-Settings", hopOther)
	case 16:
		return is(name, "Proxy-Connection", hopOther)
	case 17:
		return is(name, "Transfer-Encoding", hopCoding)
	}
	return hopNone
}

func is(name, want string, k hopKind) hopKind {
	if EqualFold(name, want) {
		return k
	}
	return hopNone
}
