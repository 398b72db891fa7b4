package httpout

import (
	"fmt"
	"net/url"

	"golang.org/x/net/http/httpguts"

	"sluice/gateway/wire"
)

// CheckAddress reports what is wrong with the address of a service.
func CheckAddress(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("uri %q is no http or https address", text)
	}
	return nil
}

// Frames reports whether a header field belongs to the connection or to the
// framing of a message, and so must not be carried from one message to another.
func Frames(name string) bool {
	for _, n := range [...]string{"Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect",
		"Keep-Alive", "Proxy-Connection", "Te", "Trailer"} {
		if wire.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// ValidField reports whether a header field can be sent.
func ValidField(name, value string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value)
}
