package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// object is a decoded JSON object; numbers in it are json.Number.
type object = map[string]any

// answer is a response. A string body goes out as it is, anything else as JSON
// and a newline; nil is no body.
type answer struct {
	code int
	body any
}

func (a answer) write(w http.ResponseWriter, r *http.Request) {
	var text []byte
	switch b := a.body.(type) {
	case nil:
	case string:
		text = []byte(b)
	default:
		var err error
		if text, err = encode(b); err != nil {
			a.code, text = http.StatusInternalServerError, []byte(`{"error_msg":"failed to encode the answer"}`)
		}
		text = append(text, '\n')
	}
	w.WriteHeader(a.code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // the client is gone: nobody left to tell
	}
}

// encode writes v as JSON, leaving <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// fail is the answer {"error_msg": …}.
func fail(code int, format string, args ...any) answer {
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	return answer{code, object{"error_msg": msg}}
}

// refusal is fail with 400, for checks that return nil when all is well.
func refusal(format string, args ...any) *answer {
	a := fail(http.StatusBadRequest, format, args...)
	return &a
}

// storeDown is what a failed store gives.
func storeDown(err error) answer { return fail(http.StatusServiceUnavailable, "%s", err.Error()) }

func storeDownRef(err error) *answer {
	a := storeDown(err)
	return &a
}

var keyNotFound = answer{http.StatusNotFound, object{"message": "Key not found"}}

// writePage sends the standard error page of a status.
func writePage(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, pageText(code))
}

// pageText is the error page of the nginx that APISIX is built on.
func pageText(code int) string {
	title := fmt.Sprintf("%d %s", code, http.StatusText(code))
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n" +
		"<center><h1>" + title + "</h1></center>\r\n<hr><center>openresty</center>\r\n" +
		"<p><em>Powered by <a href=\"https://apisix.apache.org/\">APISIX</a>.</em></p></body>\r\n</html>\r\n"
}
