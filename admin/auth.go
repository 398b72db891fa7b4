package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
)

// hashedKey is a key in the form in which it is compared: all of one length,
// so that the time of a comparison tells nothing.
type hashedKey struct {
	sum    [sha256.Size]byte
	viewer bool
}

func hashKeys(keys []Key) []hashedKey {
	hashed := make([]hashedKey, 0, len(keys))
	for _, k := range keys {
		hashed = append(hashed, hashedKey{sha256.Sum256([]byte(k.Key)), k.Role == "viewer"})
	}
	return hashed
}

// allowed says whether the client's address may speak to the Admin API at all.
func (h *Handler) allowed(r *http.Request) bool {
	if h.AllowAdmin == nil {
		return true
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	for _, p := range h.AllowAdmin {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// authorized lets next answer only to a request that carries a fitting key.
func (h *Handler) authorized(next serveFunc) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, path string) answer {
		if why := h.refuse(r); why != "" {
			h.Log.Warn("failed to check token", "err", why)
			return answer{code: http.StatusUnauthorized, body: object{
				"error_msg": "failed to check token", "description": why}}
		}
		return next(w, r, path)
	}
}

// refuse returns why a request must not pass, or "".
func (h *Handler) refuse(r *http.Request) string {
	if !h.KeyRequired || len(h.keys) == 0 {
		return ""
	}
	token, ok := tokenOf(r)
	if !ok {
		return "missing apikey"
	}
	sum := sha256.Sum256([]byte(token))
	found := -1
	for i := range h.keys {
		if subtle.ConstantTimeCompare(sum[:], h.keys[i].sum[:]) == 1 && found < 0 {
			found = i
		}
	}
	switch {
	case found < 0:
		return "wrong apikey"
	case h.keys[found].viewer && r.Method != http.MethodGet:
		return "invalid method for role viewer"
	}
	return ""
}

// tokenOf returns the key a request carries: query, header, cookie, in this
// order. The header's name may have underscores, as with APISIX.
func tokenOf(r *http.Request) (string, bool) {
	if q := r.URL.Query(); q.Has("api_key") {
		return q.Get("api_key"), true
	}
	for _, name := range []string{"X-Api-Key", "X_api_key", "X-Api_key", "X_api-Key"} {
		if v := r.Header.Values(name); len(v) > 0 {
			return v[0], true
		}
	}
	if c, err := r.Cookie("x_api_key"); err == nil {
		return c.Value, true
	}
	return "", false
}
