package hmacauth

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"time"

	"sluice/gateway/wire"
	"sluice/plugins"
)

var algorithms = map[string]func() hash.Hash{
	"hmac-sha1":   sha1.New,
	"hmac-sha256": sha256.New,
	"hmac-sha512": sha512.New,
}

// signature is what the client says of its signature.
type signature struct {
	keyID, algorithm string
	headers          string // names, separated by spaces
	sum              string // in base64
}

// parse reads name="value" pairs separated by commas; others are passed over.
func parse(fields string) signature {
	var s signature
	for field := range strings.SplitSeq(fields, ",") {
		key, rest, _ := strings.Cut(strings.TrimSpace(field), `="`)
		value, _, ok := strings.Cut(rest, `"`)
		if !ok {
			continue
		}
		switch key {
		case "keyId":
			s.keyID = value
		case "algorithm":
			s.algorithm = value
		case "headers":
			s.headers = value
		case "signature":
			s.sum = value
		}
	}
	return s
}

// covers reports whether name is among the headers.
func (s *signature) covers(name string) bool {
	for h := range strings.SplitSeq(s.headers, " ") {
		if h == name {
			return true
		}
	}
	return false
}

// requestTarget stands for method and URI among the headers.
const requestTarget = "@request-target"

// signed is the text that was signed: a line for the key, then one for each of
// the headers that the request has. A field that occurs twice would be signed
// once, and nobody could say which one the upstream takes.
func (a *auth) signed(c *plugins.Ctx, s *signature) (string, error) {
	b := append(append(c.Scratch(), s.keyID...), '\n')
	for h := range strings.SplitSeq(s.headers, " ") {
		if h == requestTarget {
			b = append(append(b, c.Req.Method...), ' ')
			uri, _ := a.target(c)
			b = append(append(b, uri...), '\n')
			continue
		}
		value, count := field(c.Req, h)
		switch count {
		case 0:
		case 1:
			b = append(append(b, h...), ": "...)
			b = append(append(b, value...), '\n')
		default:
			return "", fmt.Errorf("header %q occurs %d times", h, count)
		}
	}
	return c.Keep(b), nil
}

// field returns the first field called name and how many there are.
func field(r *wire.Request, name string) (value string, count int) {
	if wire.EqualFold(name, "Host") {
		return r.Host, 1
	}
	for i := range r.Header.Len() {
		f := r.Header.At(i)
		if wire.EqualFold(f.Name, name) {
			if count == 0 {
				value = f.Value
			}
			count++
		}
	}
	return value, count
}

// inTime compares the date of the request with the clock.
func (a *auth) inTime(date string) error {
	if date == "" {
		return errors.New("Date header missing. failed to validate clock skew")
	}
	at, err := http.ParseTime(date)
	if err != nil {
		return errors.New("Invalid GMT format time")
	}
	if skew := a.now().Truncate(time.Second).Sub(at).Abs(); skew > time.Duration(min(a.ClockSkew, maxSkew))*time.Second {
		return errors.New("Clock skew exceeded")
	}
	return nil
}

// maxSkew is as many seconds as a time.Duration can hold.
const maxSkew = int64(1<<63-1) / int64(time.Second)

// isDigest reports whether digest is SHA-256= and the sum of body in base64.
func isDigest(digest string, body []byte) bool {
	const prefix = "SHA-256="
	sum := sha256.Sum256(body)
	want := make([]byte, len(prefix)+base64.StdEncoding.EncodedLen(len(sum)))
	base64.StdEncoding.Encode(want[copy(want, prefix):], sum[:])
	return subtle.ConstantTimeCompare([]byte(digest), want) == 1
}
