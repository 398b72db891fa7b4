package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/crypto/bcrypt"
)

// TokenLife is how long a token is good for. Clients get a new one by
// themselves when one ends.
const TokenLife = 10 * time.Minute

// nobodys is compared with when there is no such user, so that an answer takes
// the same time.
const nobodys = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

// Hash is what is kept of a password.
func Hash(password string) ([]byte, error) {
	return bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
}

// Authenticate returns a token for who knows the user's password.
func (r *Rules) Authenticate(user, password string, now time.Time) (string, error) {
	if !r.On {
		return "", rpctypes.ErrGRPCAuthNotEnabled
	}
	u := r.Users[user]
	if u != nil && u.Options.GetNoPassword() {
		return "", errNoPassword
	}
	hash := []byte(nobodys)
	if u != nil {
		hash = u.Password
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || u == nil {
		return "", rpctypes.ErrGRPCAuthFailed
	}
	claim := base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + strconv.FormatInt(now.Add(TokenLife).Unix(), 36)
	return claim + "." + r.sign(claim, u.Password), nil
}

// sign covers the user's password, too: a new one ends old tokens.
func (r *Rules) sign(claim string, hash []byte) string {
	m := hmac.New(sha256.New, r.Secret)
	m.Write([]byte(claim))
	m.Write([]byte{0})
	m.Write(hash)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// Who returns the user that a token is for.
func (r *Rules) Who(token string, now time.Time) (string, error) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", rpctypes.ErrGRPCInvalidAuthToken
	}
	claim, signature := token[:i], token[i+1:]
	name, end, _ := strings.Cut(claim, ".")
	user, err := base64.RawURLEncoding.DecodeString(name)
	until, err2 := strconv.ParseInt(end, 36, 64)
	u := r.Users[string(user)]
	if err != nil || err2 != nil || u == nil || now.Unix() >= until || !hmac.Equal([]byte(signature), []byte(r.sign(claim, u.Password))) {
		return "", rpctypes.ErrGRPCInvalidAuthToken
	}
	return string(user), nil
}
