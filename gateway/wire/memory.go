package wire

import (
	"io"
	"net/http"
	"sync"
)

const copySize = 64 << 10

// copyBuffers are for bodies on their way through.
var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// Bytes returns b as the body of a response. Send writes it together with the
// head; b must not change until then.
func Bytes(b []byte) io.ReadCloser { return &memoryBody{b} }

type memoryBody struct{ b []byte }

func (m *memoryBody) Read(p []byte) (int, error) {
	if len(m.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.b)
	m.b = m.b[n:]
	return n, nil
}

func (m *memoryBody) Close() error { return nil }

// Bytes is all that was not read.
func (m *memoryBody) Bytes() []byte { return m.b }

// inMemory is a body that need not be copied to be sent. A filter gets a copy
// all the same: what it makes of a piece must not change what others share.
type inMemory interface{ Bytes() []byte }

// statusLines are the common ones, made once.
var statusLines = func() (t [600]string) {
	for code := range t {
		if text := http.StatusText(code); text != "" {
			t[code] = "HTTP/1.1 " + string([]byte{byte('0' + code/100), byte('0' + code/10%10), byte('0' + code%10)}) + " " + text + "\r\n"
		}
	}
	t[200] = "HTTP/1.1 200 OK\r\n"
	t[302] = "HTTP/1.1 302 Moved Temporarily\r\n"
	t[408] = "HTTP/1.1 408 Request Time-out\r\n"
	t[414] = "HTTP/1.1 414 Request-URI Too Large\r\n"
	t[416] = "HTTP/1.1 416 Requested Range Not Satisfiable\r\n"
	t[503] = "HTTP/1.1 503 Service Temporarily Unavailable\r\n"
	t[504] = "HTTP/1.1 504 Gateway Time-out\r\n"
	return t
}()

func appendStatus(b []byte, code int) []byte {
	if code >= 0 && code < len(statusLines) && statusLines[code] != "" {
		return append(b, statusLines[code]...)
	}
	b = append(b, "HTTP/1.1 "...)
	return append(b, byte('0'+code/100%10), byte('0'+code/10%10), byte('0'+code%10), ' ', '\r', '\n')
}

// reason is the text of a status line.
func reason(code int) string {
	if code >= 0 && code < len(statusLines) && len(statusLines[code]) > 15 {
		return statusLines[code][13 : len(statusLines[code])-2]
	}
	return "Unknown"
}
