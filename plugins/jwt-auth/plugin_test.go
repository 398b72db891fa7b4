package jwtauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// now is when these tests take place.
var now = time.Unix(1_700_000_000, 0)

func env() *plugins.Env { return plugintest.At(now) }

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// hs256 signs claims with header {"alg":"HS256"}.
func hs256(claims, secret string) string { return sign(`{"alg":"HS256","typ":"JWT"}`, claims, secret) }

func sign(header, claims, secret string) string {
	signed := encode(header) + "." + encode(claims)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(signed))
	return signed + "." + encode(string(h.Sum(nil)))
}

const (
	missing = "Missing JWT token in request"
	invalid = "JWT token invalid"
	noKey   = "missing user key in JWT token"
	badKey  = "Invalid user key in JWT token"
	failed  = "failed to verify jwt"
)

func consumers(t testing.TB) plugintest.Consumers {
	return plugintest.Consumers{
		"user-key": plugintest.User(t, &Plugin, "jack", `{"key":"user-key","secret":"my-secret-key"}`),
		"grace":    plugintest.User(t, &Plugin, "grace", `{"key":"grace","secret":"my-secret-key","lifetime_grace_period":2}`),
		"b64":      plugintest.User(t, &Plugin, "b64", `{"key":"b64","secret":"bXktc2VjcmV0LWtleQ==","base64_secret":true}`),
		"always":   plugintest.User(t, &Plugin, "always", `{"key":"always","secret":"my-secret-key","lifetime_grace_period":9223372036854775807}`),
		"guest":    plugintest.Consumer("anonymous", "", nil),
	}
}

func TestRewrite(t *testing.T) {
	good := hs256(`{"key":"user-key"}`, "my-secret-key")
	key := func(more string) string { return hs256(`{"key":"user-key"`+more+`}`, "my-secret-key") }
	grace := func(more string) string { return hs256(`{"key":"grace"`+more+`}`, "my-secret-key") }
	for _, x := range []struct{ name, conf, token, denied, consumer string }{
		{"right", `{}`, good, "", "jack"},
		{"none", `{}`, "", missing, ""},
		{"base64 secret", `{}`, hs256(`{"key":"b64"}`, "my-secret-key"), "", "b64"},
		{"garbage", `{}`, "garbage", invalid, ""},
		{"two parts", `{}`, "a.b", invalid, ""},
		{"four parts", `{}`, good + ".x", invalid, ""},
		{"header is no JSON", `{}`, "invalid-" + good, invalid, ""},
		{"payload is no object", `{}`, hs256(`["key"]`, "my-secret-key"), invalid, ""},
		{"no key", `{}`, hs256(`{"sub":"x"}`, "my-secret-key"), noKey, ""},
		{"key false", `{}`, hs256(`{"key":false}`, "my-secret-key"), noKey, ""},
		{"key number", `{}`, hs256(`{"key":1}`, "my-secret-key"), badKey, ""},
		{"unknown key", `{}`, hs256(`{"key":"x"}`, "my-secret-key"), badKey, ""},
		{"wrong secret", `{}`, hs256(`{"key":"user-key"}`, "other"), failed, ""},
		{"no signature", `{}`, good[:strings.LastIndexByte(good, '.')+1], failed, ""},
		{"short signature", `{}`, good[:len(good)-4], failed, ""},
		{"signature is no base64", `{}`, good[:strings.LastIndexByte(good, '.')+1] + "@@@@", failed, ""},
		{"padded signature", `{}`, good + "=", failed, ""},
		{"expired", `{}`, key(`,"exp":1700000000`), failed, ""},
		{"not expired", `{}`, key(`,"exp":1700000001`), "", "jack"},
		{"expired within grace", `{}`, grace(`,"exp":1699999999`), "", "grace"},
		{"expired beyond grace", `{}`, grace(`,"exp":1699999998`), failed, ""},
		{"not yet", `{}`, key(`,"nbf":1700000000`), failed, ""},
		{"by now", `{}`, key(`,"nbf":1699999999`), "", "jack"},
		{"not yet, within grace", `{}`, grace(`,"nbf":1700000001`), "", "grace"},
		{"boundless grace", `{}`, hs256(`{"key":"always","nbf":1800000000,"exp":1}`, "my-secret-key"), "", "always"},
		{"exp text", `{}`, key(`,"exp":"1800000000"`), failed, ""},
		{"exp null", `{}`, key(`,"exp":null`), failed, ""},
		{"exp beyond numbers", `{}`, key(`,"exp":1e999`), failed, ""},
		{"nbf beyond dates", `{}`, key(`,"nbf":1e300`), failed, ""},
		{"empty claims_to_verify", `{"claims_to_verify":[]}`, key(`,"exp":1`), failed, ""},
		{"required exp", `{"claims_to_verify":["exp"]}`, good, failed, ""},
		{"required exp there", `{"claims_to_verify":["exp"]}`, key(`,"exp":1800000000`), "", "jack"},
		{"only nbf", `{"claims_to_verify":["nbf"]}`, key(`,"nbf":1,"exp":1`), "", "jack"},
		{"another claim", `{"key_claim_name":"iss"}`, hs256(`{"iss":"user-key"}`, "my-secret-key"), "", "jack"},
		{"anonymous", `{"anonymous_consumer":"anonymous"}`, "x", "", "anonymous"},
		{"missing anonymous", `{"anonymous_consumer":"ghost"}`, "", "Invalid user authorization", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, env(), x.conf)
			c := consumers(t).Request("GET", "/", "X-Consumer-Username: root")
			if x.token != "" {
				c.Req.Header.Add("Authorization", "Bearer "+x.token)
			}
			plugintest.Authenticate(t, p, c, x.consumer, x.denied, `Bearer realm="jwt"`)
		})
	}
}

func TestSources(t *testing.T) {
	good := hs256(`{"key":"user-key"}`, "my-secret-key")
	const own = `{"header":"X-Token","query":"q","cookie":"c","hide_credentials":true}`
	for _, x := range []struct {
		name, conf, target string
		fields             []string
		denied             string
		upstream, cookie   string
	}{
		{"Bearer", `{}`, "/", []string{"Authorization: Bearer " + good}, "", "", ""},
		{"bearer", `{}`, "/", []string{"Authorization: bearer " + good}, "", "", ""},
		{"bare", `{}`, "/", []string{"Authorization: " + good}, "", "", ""},
		{"query", `{}`, "/?jwt=" + good, nil, "", "", ""},
		{"cookie", `{}`, "/", []string{"Cookie: a=b; jwt=" + good}, "", "", "a=b; jwt=" + good},
		{"header before query", `{}`, "/?jwt=" + good, []string{"Authorization: x"}, invalid, "", ""},
		{"hidden header", own, "/", []string{"X-Token: Bearer " + good}, "", "", ""},
		{"hidden query", own, "/h?a=1&q=" + good + "&b=2", nil, "", "/h?a=1&b=2", ""},
		{"hidden cookie", own, "/", []string{"Cookie: c=x", "Cookie: a=b; c=" + good + "; d=e"}, "", "", "a=b; d=e"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, env(), x.conf)
			c := consumers(t).Request("GET", x.target, x.fields...)
			r, err := p.Rewrite(c)
			if err != nil {
				t.Fatal(err)
			}
			if x.denied != "" {
				if r == nil || r.Body != (plugins.Message{Message: x.denied}) {
					t.Fatalf("reply %+v", r)
				}
				return
			}
			if r != nil || c.Consumer == nil {
				t.Fatalf("reply %+v", r)
			}
			if c.UpstreamURI != x.upstream || strings.Join(c.Req.Header.Values("Cookie"), "|") != x.cookie || c.Req.Header.Has("X-Token") {
				t.Errorf("upstream %q, header %v", c.UpstreamURI, c.Req.Header)
			}
		})
	}
}

func TestStoredInContext(t *testing.T) {
	for _, store := range []bool{false, true} {
		conf, err := json.Marshal(map[string]bool{"store_in_ctx": store})
		if err != nil {
			t.Fatal(err)
		}
		p := plugintest.Build(t, &Plugin, env(), string(conf))
		c := consumers(t).Request("GET", "/?jwt="+hs256(`{"key":"user-key","n":1}`, "my-secret-key"))
		if r, err := p.Rewrite(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		claims, ok := c.Value(payload).(map[string]any)
		if ok != store || store && claims["n"] != json.Number("1") {
			t.Errorf("store_in_ctx %v: %v", store, claims)
		}
	}
}

// TestHeadersDoNotMix asks one instance with headers in turn: what it remembers
// of one token says nothing about the next.
func TestHeadersDoNotMix(t *testing.T) {
	p := plugintest.Build(t, &Plugin, env(), `{}`)
	good := hs256(`{"key":"user-key"}`, "my-secret-key")
	for range 3 {
		for text, want := range map[string]bool{
			good: true,
			sign(`{"alg":"none"}`, `{"key":"user-key"}`, "my-secret-key"):                                     false,
			sign(`{"alg":"HS256","crit":["x"]}`, `{"key":"user-key"}`, "my-secret-key"):                       false,
			sign(`{"alg":"HS256","x":"`+strings.Repeat("x", 300)+`"}`, `{"key":"user-key"}`, "my-secret-key"): true,
		} {
			c := consumers(t).Request("GET", "/", "Authorization: "+text)
			if r, err := p.Rewrite(c); err != nil || (r == nil) != want {
				t.Errorf("%s: %+v, %v", text, r, err)
			}
		}
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"claims_to_verify":["iat"]}`: "matches none of the enum values",
		`{"key_claim_name":""}`:        "string too short, expected at least 1, got 0",
		`{"realm":"a\\b"}`:             "failed to match pattern",
	})
	for conf, want := range map[string]string{
		`{"key":"a","algorithm":"HS256"}`:                                               `property "secret" is required when using HS based algorithms`,
		`{"key":"a","algorithm":"HS256","secret":"{^c0j4&]2!=J=","base64_secret":true}`: "base64_secret required but the secret is not in base64 format",
		`{"key":"a","algorithm":"RS256"}`:                                               "missing valid public key",
	} {
		if _, err := Plugin.NewConsumer(json.RawMessage(conf)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(hs256(`{"key":"user-key"}`, "my-secret-key"))
	f.Add("a.b.c")
	finder := consumers(f)
	forged := hs256(`{"key":"user-key"}`, "my-secret-key")
	f.Fuzz(func(t *testing.T, text string) {
		p := plugintest.Build(t, &Plugin, env(), `{}`)
		c := finder.Request("GET", "/")
		c.Req.Header.Set("Authorization", text)
		if r, err := p.Rewrite(c); err != nil || r == nil && strings.TrimPrefix(strings.TrimPrefix(text, "Bearer "), "bearer ") != forged {
			t.Fatal(r, err)
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, env(), `{}`)
	c := consumers(b).Request("GET", "/hello", "User-Agent: test", "Accept: */*",
		"Authorization: Bearer "+hs256(`{"key":"user-key","exp":1879318541,"sub":"1234567890","name":"John Doe","iat":1516239022}`, "my-secret-key"))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
