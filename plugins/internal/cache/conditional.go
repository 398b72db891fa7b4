package cache

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/wire"
)

// Part is which part of a stored response answers a request.
type Part struct {
	Status  int // 200; 304, 412 and 416 without a body; 206
	From, N int64
	Range   string // Content-Range
}

// Select holds the conditions and the range of a request against a response of
// status 200 with that header and length (-1: unknown), as nginx does: both
// validators have to agree, dates have to be the same, and a range is answered
// when the response says that it accepts them. Several ranges get the whole.
func Select(req, resp *wire.Header, length int64) Part {
	all := Part{Status: 200, N: length}
	if v, ok := req.Lookup("If-Unmodified-Since"); ok {
		since, err := http.ParseTime(v)
		if last, ok := modified(resp); err == nil && ok && last.After(since) {
			return Part{Status: 412}
		}
	}
	if v, ok := req.Lookup("If-Match"); ok && !matches(v, resp.Get("ETag"), false) {
		return Part{Status: 412}
	}
	since, hasSince := req.Lookup("If-Modified-Since")
	tags, hasTags := req.Lookup("If-None-Match")
	if (hasSince || hasTags) && (!hasSince || sameDate(since, resp)) && (!hasTags || matches(tags, resp.Get("ETag"), true)) {
		return Part{Status: 304}
	}
	if v, ok := req.Lookup("Range"); ok && length >= 0 && wire.EqualFold(resp.Get("Accept-Ranges"), "bytes") && sameVersion(req, resp) {
		return cut(v, length)
	}
	return all
}

func modified(h *wire.Header) (time.Time, bool) {
	t, err := http.ParseTime(h.Get("Last-Modified"))
	return t, err == nil
}

func sameDate(v string, resp *wire.Header) bool {
	t, err := http.ParseTime(v)
	last, ok := modified(resp)
	return err == nil && ok && last.Equal(t)
}

// matches looks for tag in a list of entity tags. weak says that weak ones count.
func matches(list, tag string, weak bool) bool {
	if strings.Trim(list, " \t") == "*" {
		return true
	}
	if tag == "" || !weak && strings.HasPrefix(tag, "W/") {
		return false
	}
	tag = strings.TrimPrefix(tag, "W/")
	for rest := list; ; {
		rest = strings.TrimLeft(rest, " \t,")
		one := rest
		if weak {
			one = strings.TrimPrefix(rest, "W/")
		}
		if strings.HasPrefix(one, tag) {
			if after := strings.TrimLeft(one[len(tag):], " \t"); after == "" || after[0] == ',' {
				return true
			}
		}
		_, after, ok := strings.Cut(rest, ",")
		if !ok {
			return false
		}
		rest = after
	}
}

// sameVersion says whether If-Range, if there is one, names this response.
func sameVersion(req, resp *wire.Header) bool {
	v, ok := req.Lookup("If-Range")
	if !ok {
		return true
	}
	if strings.HasPrefix(v, "\"") || strings.HasPrefix(v, "W/") {
		return matches(v, resp.Get("ETag"), false)
	}
	return sameDate(v, resp)
}

// cut is the part that a Range field asks for.
func cut(v string, length int64) Part {
	all := Part{Status: 200, N: length}
	unit, spec, _ := strings.Cut(v, "=")
	first, last, ok := strings.Cut(strings.Trim(spec, " \t"), "-")
	if !wire.EqualFold(strings.Trim(unit, " \t"), "bytes") || !ok {
		return all
	}
	from, to := int64(0), length-1
	if first == "" {
		n, err := position(last)
		if err != nil {
			return all
		}
		from = max(0, length-n)
		if n == 0 {
			from = length
		}
	} else {
		var err error
		if from, err = position(first); err != nil {
			return all
		}
		if last != "" {
			if to, err = position(last); err != nil || to < from {
				return all
			}
			to = min(to, length-1)
		}
	}
	size := strconv.FormatInt(length, 10)
	if from >= length {
		return Part{Status: 416, Range: "bytes */" + size}
	}
	return Part{Status: 206, From: from, N: to - from + 1,
		Range: "bytes " + strconv.FormatInt(from, 10) + "-" + strconv.FormatInt(to, 10) + "/" + size}
}

// position reads digits; what is out of range is far behind every end.
func position(s string) (int64, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && s != "" {
		return n, nil // the largest
	}
	return n, err
}

// Window is the part of a body that answers a range; the rest is read, too,
// when it is closed, by what r does then.
func Window(r io.ReadCloser, from, n int64) io.ReadCloser { return &window{r, from, n} }

type window struct {
	io.ReadCloser
	skip, left int64
}

func (w *window) Read(p []byte) (int, error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	for {
		n, err := w.ReadCloser.Read(p)
		skipped := min(w.skip, int64(n))
		w.skip -= skipped
		got := int64(copy(p, p[skipped:n]))
		got = min(got, w.left)
		w.left -= got
		if w.left == 0 {
			return int(got), io.EOF
		}
		if got > 0 || err != nil {
			return int(got), err
		}
	}
}
