package jwtauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sluice/plugins/internal/plugintest"
)

// keys are one of each kind.
type keys struct {
	rsa *rsa.PrivateKey
	ec  map[string]*ecdsa.PrivateKey
	ed  ed25519.PrivateKey
}

func newKeys(t testing.TB) *keys {
	t.Helper()
	k := &keys{ec: map[string]*ecdsa.PrivateKey{}}
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if k.ec[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if _, k.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return k
}

// private is the key of an algorithm.
func (k *keys) private(algorithm string) crypto.Signer {
	switch algorithm[:2] {
	case "ES":
		return k.ec[algorithm]
	case "Ed":
		return k.ed
	}
	return k.rsa
}

func pemOf(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// part is a consumer's configuration with a public key.
func part(t testing.TB, algorithm, public string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"key": "k", "algorithm": algorithm, "public_key": public})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func signed(t testing.TB, algorithm string, key any) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), jwt.MapClaims{"key": "k"}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// passes reports whether a token is good for the consumer of that part.
func passes(t testing.TB, conf, text string) bool {
	t.Helper()
	p := plugintest.Build(t, &Plugin, env(), `{}`)
	c := plugintest.Consumers{"k": plugintest.User(t, &Plugin, "k", conf)}.Request("GET", "/", "Authorization: Bearer "+text)
	r, err := p.Rewrite(c)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil && (r.Status != 401 || c.Consumer != nil) {
		t.Errorf("reply %+v with consumer %+v", r, c.Consumer)
	}
	return r == nil && c.Consumer != nil
}

var asymmetric = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// TestAlgorithms holds every algorithm against every consumer: a token is only
// good for the consumer whose algorithm it has, whatever it says of itself.
func TestAlgorithms(t *testing.T) {
	k := newKeys(t)
	tokens := map[string]string{"none": signed(t, "none", jwt.UnsafeAllowNoneSignatureType)}
	for _, a := range asymmetric {
		tokens[a] = signed(t, a, k.private(a))
	}
	for _, a := range asymmetric {
		public := pemOf(t, k.private(a).Public())
		conf := part(t, a, public)
		for other, text := range tokens {
			if got := passes(t, conf, text); got != (other == a) {
				t.Errorf("consumer of %s, token of %s: %v", a, other, got)
			}
		}
		// The classical confusion: what everybody knows is the secret.
		for _, hs := range []string{"HS256", "HS384", "HS512"} {
			if passes(t, conf, signed(t, hs, []byte(public))) {
				t.Errorf("consumer of %s takes %s signed with its public key", a, hs)
			}
		}
	}
	for _, hs := range []string{"HS256", "HS384", "HS512"} {
		conf := `{"key":"k","secret":"shared","algorithm":"` + hs + `"}`
		tokens["HS256"], tokens["HS384"], tokens["HS512"] = signed(t, "HS256", []byte("shared")),
			signed(t, "HS384", []byte("shared")), signed(t, "HS512", []byte("shared"))
		for other, text := range tokens {
			if got := passes(t, conf, text); got != (other == hs) {
				t.Errorf("consumer of %s, token of %s: %v", hs, other, got)
			}
		}
	}
}

// TestForgedTokens are tokens that some verifier somewhere let through.
func TestForgedTokens(t *testing.T) {
	const conf = `{"key":"k","secret":"s"}`
	if !passes(t, conf, sign(`{"alg":"HS256"}`, `{"key":"k"}`, "s")) {
		t.Fatal("the right one is refused")
	}
	for name, text := range map[string]string{
		"alg none":             encode(`{"alg":"none"}`) + "." + encode(`{"key":"k"}`) + ".",
		"alg None":             encode(`{"alg":"None"}`) + "." + encode(`{"key":"k"}`) + ".",
		"no alg":               sign(`{}`, `{"key":"k"}`, "s"),
		"alg list":             sign(`{"alg":["HS256"]}`, `{"key":"k"}`, "s"),
		"alg in another case":  sign(`{"Alg":"HS256"}`, `{"key":"k"}`, "s"),
		"alg lower case":       sign(`{"alg":"hs256"}`, `{"key":"k"}`, "s"),
		"alg twice":            sign(`{"alg":"HS256","alg":"HS256"}`, `{"key":"k"}`, "s"),
		"key twice":            sign(`{"alg":"HS256"}`, `{"key":"x","key":"k"}`, "s"),
		"key twice, escaped":   sign(`{"alg":"HS256"}`, `{"k\u0065y":"x","key":"k"}`, "s"),
		"key in another case":  sign(`{"alg":"HS256"}`, `{"Key":"k"}`, "s"),
		"a name twice within":  sign(`{"alg":"HS256"}`, `{"key":"k","a":{"b":1,"b":2}}`, "s"),
		"two values":           sign(`{"alg":"HS256"}`, `{"key":"k"}{}`, "s"),
		"invalid UTF-8":        sign(`{"alg":"HS256"}`, "{\"key\":\"k\",\"a\":\"\xff\"}", "s"),
		"critical extension":   sign(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"key":"k"}`, "s"),
		"exp in another case":  sign(`{"alg":"HS256"}`, `{"key":"k","exp":1,"Exp":1900000000}`, "s"),
		"empty secret":         sign(`{"alg":"HS256"}`, `{"key":"k"}`, ""),
		"encrypted":            encode(`{"alg":"dir","enc":"A256GCM"}`) + "....",
		"padded base64":        sign(`{"alg":"HS256"}`, `{"key":"k"}`, "s") + "==",
		"signature of another": sign(`{"alg":"HS256"}`, `{"key":"k"}`, "s")[:20] + "." + encode(`{"key":"k"}`) + ".AAAA",
	} {
		if passes(t, conf, text) {
			t.Errorf("%s: let through", name)
		}
	}
}

// TestUnusableKeys: such a consumer can be written, but nobody gets in as it.
func TestUnusableKeys(t *testing.T) {
	k := newKeys(t)
	short := "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKebDxlvQMGyEesAL1r1nIJBkSdqu3Hr\n" +
		"7noq/0ukiZqVQLSJPMOv0oxQSutvvK3hoibwGakDOza+xRITB7cs2cECAwEAAQ==\n-----END PUBLIC KEY-----"
	for name, x := range map[string]struct{ algorithm, public, token string }{
		"no PEM":        {"RS256", "somekey", signed(t, "RS256", k.rsa)},
		"short":         {"RS256", short, signed(t, "RS256", k.rsa)},
		"another kind":  {"ES256", pemOf(t, k.rsa.Public()), signed(t, "ES256", k.ec["ES256"])},
		"another curve": {"ES256", pemOf(t, k.ec["ES384"].Public()), signed(t, "ES256", k.ec["ES256"])},
		"no key":        {"RS256", string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})), signed(t, "RS256", k.rsa)},
		"broken":        {"RS256", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), signed(t, "RS256", k.rsa)},
	} {
		if passes(t, part(t, x.algorithm, x.public), x.token) {
			t.Errorf("%s: let through", name)
		}
	}
	der := x509.MarshalPKCS1PrivateKey(k.rsa)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}))
	if !passes(t, part(t, "RS256", private), signed(t, "RS256", k.rsa)) {
		t.Error("the public part of a private key was not used")
	}
}

func BenchmarkVerify(b *testing.B) {
	k := newKeys(b)
	for _, a := range []string{"RS256", "ES256", "EdDSA"} {
		own := plugintest.User(b, &Plugin, "k", part(b, a, pemOf(b, k.private(a).Public()))).Conf.(*credential)
		t, err := new(headers).parse(signed(b, a, k.private(a)), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(a, func(b *testing.B) {
			scratch := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				if err := own.verify(&t, scratch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
