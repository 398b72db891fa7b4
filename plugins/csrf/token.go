package csrf

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strconv"
)

// token is what a cookie holds, in JSON and base64. The signature is over the
// numbers' texts.
type token struct {
	Random  json.Number `json:"random"`
	Expires json.Number `json:"expires"` // when it was made, seconds
	Sign    string      `json:"sign"`
}

// The texts between the values of a token that we wrote.
const (
	ownHead   = `{"expires":`
	ownRandom = `,"random":`
	ownSign   = `,"sign":"`
	ownTail   = `"}`
)

// maxToken is the longest token that is read without memory of its own, in bytes.
const maxToken = 256

// verify is why a token is not good, "" when it is.
func (g *guard) verify(text string) string {
	var buf [maxToken]byte
	var raw []byte
	var err error
	if len(text) <= maxToken {
		var in [maxToken]byte
		n := copy(in[:], text)
		raw, err = base64.StdEncoding.AppendDecode(buf[:0], in[:n])
	} else {
		raw, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil {
		return "csrf token base64 decode error"
	}
	if made, ok := g.own(raw); ok {
		if g.stale(float64(made)) {
			return "token has expired"
		}
		return ""
	}
	return g.verifyAny(bytes.Clone(raw))
}

// own reports whether a token is as we write it and signed by us, and when it was made.
func (g *guard) own(raw []byte) (made int64, ok bool) {
	rest, is := bytes.CutPrefix(raw, []byte(ownHead))
	expires, rest, is2 := bytes.Cut(rest, []byte(ownRandom))
	random, rest, is3 := bytes.Cut(rest, []byte(ownSign))
	sign, is4 := bytes.CutSuffix(rest, []byte(ownTail))
	if !is || !is2 || !is3 || !is4 || len(expires) == 0 || len(expires) > 15 {
		return 0, false
	}
	for _, c := range expires {
		if c < '0' || c > '9' {
			return 0, false
		}
		made = made*10 + int64(c-'0')
	}
	var buf [2 * sha256.Size]byte
	return made, subtle.ConstantTimeCompare(g.appendSign(buf[:0], random, expires), sign) == 1
}

func (g *guard) stale(made float64) bool {
	return g.Expires > 0 && float64(g.now().Unix())-made > float64(g.Expires)
}

// verifyAny is verify for tokens in any form of JSON.
func (g *guard) verifyAny(raw []byte) string {
	var t token
	if err := json.Unmarshal(raw, &t); err != nil {
		return "decode token error"
	}
	if t.Random == "" {
		return "no random in token"
	}
	if t.Expires == "" {
		return "no expires in token"
	}
	made, err := t.Expires.Float64()
	if err != nil {
		return "no expires in token"
	}
	if g.stale(made) {
		return "token has expired"
	}
	random, err := t.Random.Float64()
	if err != nil {
		return "no random in token"
	}
	sign := g.appendSign(nil, number(nil, random), number(nil, made))
	if subtle.ConstantTimeCompare(sign, []byte(t.Sign)) != 1 {
		return "Invalid signatures"
	}
	return ""
}

// number writes f as Lua does: with 14 digits.
func number(b []byte, f float64) []byte {
	if f == float64(int64(f)) && f > -1e14 && f < 1e14 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	s := strconv.FormatFloat(f, 'g', 14, 64)
	f, _ = strconv.ParseFloat(s, 64) // it was just written
	mode := byte('f')
	if f > -1e-4 && f < 1e-4 || f >= 1e14 || f <= -1e14 {
		mode = 'e'
	}
	return strconv.AppendFloat(b, f, mode, -1, 64)
}

// appendRandom appends a number between 0.1 and 1 of up to 14 digits, in Lua's form.
func appendRandom(b []byte) []byte {
	b = append(b, "0."...)
	b = strconv.AppendInt(b, 1e13+rand.Int64N(9e13), 10)
	return bytes.TrimRight(b, "0")
}

// appendSign appends the signature over the texts of the two numbers.
func (g *guard) appendSign(b, random, made []byte) []byte {
	var buf [maxToken]byte
	m := append(buf[:0], "{expires:"...)
	m = append(m, made...)
	m = append(m, ",random:"...)
	m = append(m, random...)
	m = append(m, ",key:"...)
	m = append(m, g.Key...)
	m = append(m, '}')
	sum := sha256.Sum256(m)
	return hex.AppendEncode(b, sum[:])
}
