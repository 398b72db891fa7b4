package batchrequests

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// request is one of a batch.
type request struct {
	Version json.Number    `json:"version"`
	Method  string         `json:"method"`
	Path    string         `json:"path"`
	Query   map[string]any `json:"query"`
	Headers map[string]any `json:"headers"`
	Body    *string        `json:"body"`
}

// answer is what became of a request.
type answer struct {
	Status  int            `json:"status"`
	Reason  string         `json:"reason,omitempty"`
	Headers map[string]any `json:"headers,omitempty"`
	Body    *string        `json:"body,omitempty"`
	BodyErr string         `json:"read_body_err,omitempty"`
}

// text is the request as it is sent. What could end a line, or say another
// length than the body's, is refused or left out.
func (r *request) text() ([]byte, error) {
	path := r.Path
	if strings.IndexFunc(path, func(x rune) bool { return x <= ' ' || x == 0x7f }) >= 0 {
		return nil, fmt.Errorf("path %q has characters that must be encoded", path)
	}
	if path[0] != '/' {
		path = "/" + path
	}
	if query := encode(r.Query); query != "" && strings.Contains(path, "?") {
		path += "&" + query
	} else if query != "" {
		path += "?" + query
	}
	minor := "1"
	if v, err := r.Version.Float64(); err == nil && v < 1.05 {
		minor = "0"
	}
	b := append([]byte(nil), r.Method+" "+path+" HTTP/1."+minor+"\r\n"...)
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if framing[name] {
			continue
		}
		if name == "" || strings.IndexFunc(name, func(x rune) bool { return x <= ' ' || x >= 0x7f || x == ':' }) >= 0 {
			return nil, fmt.Errorf("header field %q is no name", name)
		}
		for _, value := range values(r.Headers[name]) {
			if strings.ContainsAny(value, "\r\n\x00") {
				return nil, fmt.Errorf("header field %s: its value has a line break", name)
			}
			b = append(b, name+": "+value+"\r\n"...)
		}
	}
	if r.Body != nil {
		b = append(b, "content-length: "+strconv.Itoa(len(*r.Body))+"\r\n"...)
	}
	b = append(b, "\r\n"...)
	if r.Body != nil {
		b = append(b, *r.Body...)
	}
	return b, nil
}

// framing are the fields that are ours to set, or that would make the answer
// something else than one.
var framing = map[string]bool{"content-length": true, "transfer-encoding": true, "connection": true, "upgrade": true,
	"expect": true, "te": true, "trailer": true, "keep-alive": true, "proxy-connection": true, "http2-settings": true}

// values are the texts of a JSON value: one, or a list's.
func values(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, e := range v {
			list = append(list, values(e)...)
		}
		return list
	case json.Number, bool:
		return []string{fmt.Sprint(v)}
	}
	return nil
}

// encode is the query of arguments, in the order of their names; true stands
// for a name alone.
func encode(args map[string]any) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if v, ok := args[name].(bool); ok {
			if v {
				list = append(list, url.QueryEscape(name))
			}
			continue
		}
		for _, value := range values(args[name]) {
			list = append(list, url.QueryEscape(name)+"="+url.QueryEscape(value))
		}
	}
	return strings.ReplaceAll(strings.Join(list, "&"), "+", "%20")
}

// maxHead is how long the head of an answer may be, in bytes.
const maxHead = 256 << 10

// readHead reads the head of an answer as it was written; interim ones are skipped.
func readHead(in *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := in.ReadSlice('\n')
		head = append(head, line...)
		switch {
		case err == bufio.ErrBufferFull:
			err = nil
		case err == nil && (string(line) == "\r\n" || string(line) == "\n"):
			if !strings.HasPrefix(string(head), "HTTP/1.1 1") {
				return head, nil
			}
			head = head[:0]
		}
		if err != nil {
			return nil, err
		}
		if len(head) > maxHead {
			return nil, errors.New("the head of the answer is too long")
		}
	}
}

// fields are the header fields of a head, their names as they were written; a
// repeated one is a list.
func fields(head []byte) map[string]any {
	out := map[string]any{}
	_, rest, _ := strings.Cut(string(head), "\n")
	for line := range strings.Lines(rest) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch old := out[name].(type) {
		case nil:
			out[name] = value
		case string:
			out[name] = []string{old, value}
		case []string:
			out[name] = append(old, value)
		}
	}
	return out
}
