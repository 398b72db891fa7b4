package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"sluice/admin/inspect"
)

// maxBody is the largest request body: 1.5 MiB.
const maxBody = 3 << 19

// drain is how much of a refused body is still read, so that the client gets
// to read the answer before the connection closes.
const drain = 16 << 20

var errTooLarge = errors.New("too large")

// readBody returns the whole body, nil when there is none.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	size := r.ContentLength
	if size <= limit {
		b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return nil, err
		}
		if int64(len(b)) <= limit {
			return b, nil
		}
		size = int64(len(b))
	}
	rest, _ := io.CopyN(io.Discard, r.Body, drain) // best effort
	if r.ContentLength < 0 {
		size += rest
	}
	return nil, fmt.Errorf("request size %d is greater than the maximum size %d allowed%w", size, limit, silent{errTooLarge})
}

// silent wraps an error without adding to the text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// decodeBody reads a JSON body; has is false when there is none.
func decodeBody(r *http.Request) (v any, has bool, bad *answer) {
	raw, err := readBody(r, maxBody)
	if err != nil {
		return nil, false, refusal("invalid request body: %s", err)
	}
	if len(raw) == 0 {
		return nil, false, nil
	}
	v, err = inspect.Decode(raw)
	if err != nil {
		return nil, false, &answer{http.StatusBadRequest, object{
			"error_msg": "invalid request body: " + err.Error(), "req_body": string(raw)}}
	}
	return v, true, nil
}
