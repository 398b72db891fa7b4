package jwtauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	strictjson "sluice/configcenter/schema"
)

// token is a JSON Web Signature in compact form, taken apart. Nothing in it is
// to be believed before its signature was verified.
type token struct {
	algorithm string
	claims    map[string]any
	signed    string // header and payload as they were signed
	signature string // in base64
}

// strict refuses what has two encodings of one text.
var strict = base64.RawURLEncoding.Strict()

// headers remembers the last header that was read: an issuer's tokens share it.
type headers struct{ last atomic.Pointer[header] }

type header struct{ encoded, algorithm string }

// maxHeader is the length of the longest header that is remembered.
const maxHeader = 256

// algorithm is the one that an encoded header names. It decodes behind scratch.
func (h *headers) algorithm(encoded string, scratch []byte) (string, error) {
	if last := h.last.Load(); last != nil && last.encoded == encoded {
		return last.algorithm, nil
	}
	o, err := object(encoded, scratch)
	if err != nil {
		return "", err
	}
	if _, has := o["crit"]; has {
		return "", errors.New("critical extensions are not understood")
	}
	algorithm, _ := o["alg"].(string)
	if len(encoded) <= maxHeader {
		h.last.Store(&header{strings.Clone(encoded), algorithm})
	}
	return algorithm, nil
}

// parse takes a token apart. Two members of one name, in the header or
// anywhere in the claims, are refused, because two readers could take either;
// names are compared with case. It decodes behind scratch.
func (h *headers) parse(text string, scratch []byte) (token, error) {
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 {
		return token{}, errors.New("not three parts")
	}
	signed := text[:dot]
	rawHeader, rawClaims, ok := strings.Cut(signed, ".")
	if !ok || strings.Contains(rawClaims, ".") {
		return token{}, errors.New("not three parts")
	}
	algorithm, err := h.algorithm(rawHeader, scratch)
	if err != nil {
		return token{}, fmt.Errorf("invalid header: %w", err)
	}
	claims, err := object(rawClaims, scratch)
	if err != nil {
		return token{}, fmt.Errorf("invalid payload: %w", err)
	}
	return token{algorithm, claims, signed, text[dot+1:]}, nil
}

func object(encoded string, scratch []byte) (map[string]any, error) {
	raw, err := strict.AppendDecode(scratch, []byte(encoded))
	if err != nil {
		return nil, errors.New("not base64url")
	}
	v, err := strictjson.Decode(raw)
	if err != nil {
		return nil, errors.New("not JSON of one meaning") // the error would quote it
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	return o, nil
}

// inTime checks the claims that say when a token holds, against now with a
// grace of so many seconds. Those in required must be there; when it is empty,
// exp and nbf are checked if they are there.
func (t *token) inTime(required []string, now, grace int64) error {
	names := required
	if len(names) == 0 {
		names = []string{"nbf", "exp"}
	}
	for _, name := range names {
		claim, has := t.claims[name]
		if !has {
			if len(required) == 0 {
				continue
			}
			return fmt.Errorf("claim %s is missing", name)
		}
		n, ok := claim.(json.Number)
		if !ok {
			return fmt.Errorf("claim %s is not a number", name)
		}
		at, err := n.Float64()
		switch {
		case err != nil:
			return fmt.Errorf("claim %s is out of range", name)
		case name == "exp" && at <= float64(now)-float64(grace):
			return fmt.Errorf("'exp' claim expired at %s", httpTime(at))
		case name == "nbf" && at >= float64(now)+float64(grace):
			return fmt.Errorf("'nbf' claim not valid until %s", httpTime(at))
		}
	}
	return nil
}

func httpTime(seconds float64) string {
	const end = 253402300799 // of the year 9999
	return time.Unix(int64(min(max(seconds, 0), end)), 0).UTC().Format(http.TimeFormat)
}
