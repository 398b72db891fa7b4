// Package consumer is what the authenticating plugins share: making a consumer
// the request's, telling the upstream who it is, falling back to the anonymous
// one, comparing secrets, and taking credentials out of what goes upstream.
//
// It does not know how a credential is checked.
package consumer

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"sluice/plugins"
)

// The fields that tell the upstream who calls.
const (
	username   = "X-Consumer-Username"
	credential = "X-Credential-Identifier"
	customID   = "X-Consumer-Custom-ID"
)

// Attach makes found the consumer of the request. What the client sent in the
// fields that carry an identity is removed, in every spelling.
func Attach(c *plugins.Ctx, found *plugins.Consumer) {
	h := &c.Req.Header
	strip(h)
	c.Consumer = found
	def := found.Def
	h.Add(username, def.Username)
	if found.CredentialID != "" {
		h.Add(credential, found.CredentialID)
	}
	if id := def.Labels["custom_id"]; id != "" {
		h.Add(customID, id)
	}
}

// Auth is what every authenticating plugin does with the outcome of its check.
type Auth struct {
	Plugin    string // its name, for the log
	Challenge string // value of WWW-Authenticate
	Anonymous string // username of the consumer to fall back to; "" for none
}

// Challenge returns the value of WWW-Authenticate for a scheme and a realm,
// which the schemas keep free of quotes.
func Challenge(scheme, realm string) string { return scheme + ` realm="` + realm + `"` }

// Refuse is Fail for what the client is not told: why goes to the log. It must
// not hold anything of the credential.
func (a *Auth) Refuse(c *plugins.Ctx, message, why string) *plugins.Reply {
	c.Log().Info("client not authenticated", "plugin", a.Plugin, "err", why)
	return a.Fail(c, message)
}

// Fail ends the request with 401 and message, unless there is an anonymous
// consumer to go on with.
func (a *Auth) Fail(c *plugins.Ctx, message string) *plugins.Reply {
	if a.Anonymous == "" {
		return a.deny(c, message)
	}
	found := c.Find().ConsumerNamed(a.Anonymous)
	if found == nil {
		c.Log().Error("failed to authenticate the request", "plugin", a.Plugin,
			"err", "failed to get anonymous consumer "+a.Anonymous)
		return a.deny(c, "Invalid user authorization")
	}
	Attach(c, found)
	return nil
}

func (a *Auth) deny(c *plugins.Ctx, message string) *plugins.Reply {
	c.RespHeader.Set("WWW-Authenticate", a.Challenge)
	return plugins.Exit(401, plugins.Message{Message: message})
}

// Secret is a secret to compare with in a time that tells neither its text nor
// its length.
type Secret [sha256.Size]byte

// NewSecret makes the Secret of a text.
func NewSecret(text string) Secret { return sha256.Sum256([]byte(text)) }

// Is reports whether text is the secret.
func (s *Secret) Is(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(s[:], sum[:]) == 1
}

// DecodeBase64 decodes as nginx does: padding may be left out, and what follows
// it is not looked at.
func DecodeBase64(s string) ([]byte, bool) {
	s, _, _ = strings.Cut(s, "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	return b, err == nil
}
