package secret

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/configcenter/schema"
)

func keyring(t testing.TB, keys ...string) *Keyring {
	t.Helper()
	k, err := NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const (
	first  = "qeddd145sfvddff3"
	second = "edd1c9f0985e76a2"
)

// The ciphers are those that openssl makes with key and IV alike.
func TestCiphersAreAPISIXs(t *testing.T) {
	for _, c := range []struct{ key, plain, cipher string }{
		{first, "hello", "RdO7hElVO+FhS5u1spmKUQ=="},
		{first + first, "hello", "vhjYVldzUeh+RmRbLLuJsQ=="},
		{second, "bar", "77+NmbYqNfN+oLm0aX5akg=="},
	} {
		k := keyring(t, c.key)
		if got := k.Encrypt(c.plain); got != c.cipher {
			t.Errorf("%q is %s, want %s", c.plain, got, c.cipher)
		}
		if got, err := k.Decrypt(c.cipher); err != nil || got != c.plain {
			t.Errorf("back: %q, %v", got, err)
		}
	}
}

func TestEveryKeyDecrypts(t *testing.T) {
	old := keyring(t, second)
	both := keyring(t, first, second)
	for _, text := range []string{"", "a", strings.Repeat("x", 16), strings.Repeat("é", 1000)} {
		for _, k := range []*Keyring{old, both} {
			if got, err := both.Decrypt(k.Encrypt(text)); err != nil || got != text {
				t.Errorf("%.20q came back as %.20q, %v", text, got, err)
			}
		}
	}
	for text, want := range map[string]string{"%": "base64 decode failed", "": "decrypt failed", "YWJj": "decrypt failed",
		keyring(t, "0123456789abcdef").Encrypt("other"): "decrypt failed"} {
		if _, err := both.Decrypt(text); err == nil || err.Error() != want {
			t.Errorf("Decrypt(%q): %v, want %s", text, err, want)
		}
	}
	if _, err := NewKeyring([]string{"short"}); err == nil || strings.Contains(err.Error(), "short") || !strings.Contains(err.Error(), "got 5") {
		t.Errorf("a short key: %v", err)
	}
}

func TestNoKeyring(t *testing.T) {
	for _, k := range []*Keyring{nil, keyring(t)} {
		if got, err := k.Decrypt(k.Encrypt("a")); got != "a" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		k.EncryptFields([]string{"a"}, map[string]any{"a": "x"})
	}
}

func TestPrivateKeys(t *testing.T) {
	k := keyring(t, first)
	const text = "-----BEGIN KEY-----"
	got := k.EncryptKey(text)
	if got == text || k.EncryptKey(got) != got || k.EncryptKey("$secret://vault/1/a/b") != "$secret://vault/1/a/b" {
		t.Errorf("got %q", got)
	}
	for _, in := range []string{got, text} {
		if back, err := k.DecryptKey(in); err != nil || back != text {
			t.Errorf("back: %q, %v", back, err)
		}
	}
	if _, err := k.DecryptKey("YWJj"); err == nil || err.Error() != "decrypt ssl key failed" {
		t.Error(err)
	}
}

func TestFields(t *testing.T) {
	k := keyring(t, first)
	const text = `{"a":"x","b":{"c":"y","n":1},"l":["p","q",3],"m":{"k":"v"},"o":[{"d":{"e":"z"}},{"d":7}],"keep":"x"}`
	doc, err := schema.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{"a", "b.c", "b.n", "l", "m", "o.d.e", "none", "none.x", "a.x"}
	k.EncryptFields(fields, doc)
	got, _ := schema.Encode(doc)
	want := `{"a":"` + k.Encrypt("x") + `","b":{"c":"` + k.Encrypt("y") + `","n":1},"keep":"x","l":["` + k.Encrypt("p") + `","` + k.Encrypt("q") +
		`",3],"m":{"k":"` + k.Encrypt("v") + `"},"o":[{"d":{"e":"` + k.Encrypt("z") + `"}},{"d":7}]}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if errs := k.DecryptFields(fields, doc); len(errs) != 0 {
		t.Error(errs)
	}
	if got, _ := schema.Encode(doc); string(got) != `{"a":"x","b":{"c":"y","n":1},"keep":"x","l":["p","q",3],"m":{"k":"v"},"o":[{"d":{"e":"z"}},{"d":7}]}` {
		t.Errorf("back: %s", got)
	}
	errs := k.DecryptFields([]string{"b.c"}, doc)
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "field b.c: ") {
		t.Errorf("a field in clear: %v", errs)
	}
}

// clock is a time that the test moves.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func resolver(t *testing.T, o Options) *Resolver {
	t.Helper()
	if o.Env == nil {
		o.Env = func(name string) (string, bool) {
			v, ok := map[string]string{"TOKEN": "t0ken", "JSON": `{"a":"x","n":5}`, "TEXT": "plain"}[name]
			return v, ok
		}
	}
	r, err := NewResolver(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func nothing(string) json.RawMessage { return nil }

func TestEnv(t *testing.T) {
	r := resolver(t, Options{})
	for ref, want := range map[string]string{
		"$env://TOKEN": "t0ken", "$ENV://JSON/a": "x", "$Env://JSON/n": "5", "$env://JSON/none": "no value",
		"$env://NONE": "no value", "$env://TEXT/a": "decode failed", "plain": "not a reference",
		"$secret://vault": "no secret manager", "$secret://vault/1": "no secret conf id", "$secret://vault/1/": "no secret key id",
		"$secret://vault/1/a/b": "no secret conf", "$SECRET://vault/1/a/b": "not a reference",
	} {
		v, err := r.Value(t.Context(), ref, nothing)
		if got := fmt.Sprint(v, err); !strings.Contains(got, want) || ref == "$env://TEXT/a" && strings.Contains(got, "plain") {
			t.Errorf("%s: %v, %v, want %s", ref, v, err, want)
		}
	}
}

func TestFill(t *testing.T) {
	r := resolver(t, Options{})
	doc := map[string]any{"a": "$env://TOKEN", "l": []any{"$ENV://NONE", "x"}, "n": json.Number("1")}
	out, errs := r.Fill(t.Context(), doc, nothing)
	text, _ := schema.Encode(out)
	if string(text) != `{"a":"t0ken","l":["$ENV://NONE","x"],"n":1}` || len(errs) != 1 || !HasRef(out) {
		t.Errorf("%s, %v", text, errs)
	}
	if v, _ := r.Fill(t.Context(), "$env://TOKEN", nothing); v != "t0ken" || HasRef(v) {
		t.Errorf("%v", v)
	}
}

// vault is a stand-in for Vault that counts its calls and can be down.
type vault struct {
	*httptest.Server
	calls int
	down  bool
	conf  string // of the manager "vault/1"
}

func newVault(t *testing.T) *vault {
	v := &vault{}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.calls++
		body, err := io.ReadAll(r.Body)
		if err != nil || v.down || r.Method != "GET" || r.URL.Path != "/v1/kv/apisix/jack" || r.Header.Get("X-Vault-Token") != "t0ken" ||
			r.Header.Get("X-Vault-Namespace") != "ns" || string(body) != "{}" {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors":["permission denied"]}`)
			return
		}
		io.WriteString(w, `{"data":{"key":"value","n":7}}`)
	}))
	v.conf = `{"uri":"` + v.URL + `","prefix":"kv/apisix/","token":"$ENV://TOKEN","namespace":"ns"}`
	t.Cleanup(v.Close)
	return v
}

func (v *vault) find(id string) json.RawMessage {
	if id != "vault/1" {
		return nil
	}
	return json.RawMessage(v.conf)
}

func (v *vault) value(t *testing.T, r *Resolver, ref string) string {
	got, err := r.Value(t.Context(), ref, v.find)
	return fmt.Sprint(got, " ", err)
}

func TestVault(t *testing.T) {
	v := newVault(t)
	r := resolver(t, Options{Client: v.Client()})
	for ref, want := range map[string]string{
		"$secret://vault/1/jack/key":          "value <nil>",
		"$secret://vault/1/jack/n":            "7 <nil>",
		"$secret://vault/1/bob/key":           "permission denied",
		"$secret://vault/1/jack/none":         "no value",
		"$secret://vault/1/jack":              "error key format, key: jack",
		"$secret://vault/1//jack":             "can't find main key",
		"$secret://vault/1/jack/":             "can't find sub key",
		"$secret://vault/1/../../sys/x":       "must not leave the prefix",
		"$secret://vault/2/jack/key":          "no secret conf",
		"$secret://vault/1/a/../../../sys/xy": "must not leave the prefix",
	} {
		if got := v.value(t, r, ref); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

func TestValuesAreKept(t *testing.T) {
	v := newVault(t)
	clk := &clock{now: time.Unix(1e9, 0)}
	r := resolver(t, Options{Now: clk.time, Client: v.Client()})
	expect := func(want string, calls int) {
		t.Helper()
		if got := v.value(t, r, "$secret://vault/1/jack/key"); !strings.Contains(got, want) || v.calls != calls {
			t.Errorf("%s after %d calls, want %s after %d", got, v.calls, want, calls)
		}
	}
	expect("value <nil>", 1)
	expect("value <nil>", 1)
	// A failure is kept for a while, and a value that is too old is better than none.
	v.down = true
	clk.now = clk.now.Add(301 * time.Second)
	expect("value <nil>", 2)
	expect("value <nil>", 2)
	v.down = false
	clk.now = clk.now.Add(61 * time.Second)
	expect("value <nil>", 3)
	// Another configuration of the manager is asked anew.
	v.conf = strings.Replace(v.conf, `"ns"`, `"other"`, 1)
	expect("permission denied", 4)
}

// A redirect is not followed: the token would go with it.
func TestNoRedirects(t *testing.T) {
	v := newVault(t)
	from := httptest.NewServer(http.RedirectHandler(v.URL+"/v1/kv/apisix/jack", http.StatusTemporaryRedirect))
	defer from.Close()
	v.conf = strings.Replace(v.conf, v.URL, from.URL, 1)
	if got := v.value(t, resolver(t, Options{}), "$secret://vault/1/jack/key"); strings.HasPrefix(got, "value") || v.calls != 0 {
		t.Errorf("%s, %d calls", got, v.calls)
	}
}

// The key and the vector are those that AWS documents.
func TestSignatureKey(t *testing.T) {
	s := signature{secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", region: "us-east-1", service: "iam"}
	if got := hex.EncodeToString(s.key("20150830")); got != "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9" {
		t.Error(got)
	}
}

func TestAWS(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in struct{ SecretId, VersionStage string }
		auth := r.Header.Get("Authorization")
		again := r.Header.Clone()
		signature{"id", "t0ken", "us-east-1", "secretsmanager"}.sign(again, r.Host, string(body), time.Unix(1e9, 0))
		if json.Unmarshal(body, &in) != nil || in.VersionStage != "AWSCURRENT" || auth != again.Get("Authorization") ||
			!strings.Contains(auth, "Credential=id/20010909/us-east-1/secretsmanager/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, ") ||
			r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || r.Header.Get("X-Amz-Security-Token") != "session" {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"__type":"InvalidSignatureException"}`)
			return
		}
		switch in.SecretId {
		case "a/b":
			io.WriteString(w, `{"SecretString":"{\"c\":\"deep\"}"}`)
		case "whole":
			io.WriteString(w, `{"SecretString":"text"}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"__type":"com.amazonaws#ResourceNotFoundException"}`)
		}
	}))
	defer server.Close()
	find := func(string) json.RawMessage {
		return json.RawMessage(`{"access_key_id":"id","secret_access_key":"$env://TOKEN","session_token":"session","endpoint_url":"` + server.URL + `"}`)
	}
	r := resolver(t, Options{Client: server.Client(), Now: func() time.Time { return time.Unix(1e9, 0) }})
	for ref, want := range map[string]string{
		"$secret://aws/1/whole": "text <nil>",
		"$secret://aws/1/a/b/c": "deep <nil>",
		"$secret://aws/1/a/b/d": "no value",
		"$secret://aws/1/none":  "failed to retrieve data from aws secret manager: invalid status code 400, ResourceNotFoundException",
		"$secret://aws/1//x":    "can't find main key",
	} {
		v, err := r.Value(t.Context(), ref, find)
		if got := fmt.Sprint(v, " ", err); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

func TestGCP(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			tokens++
			if parts := strings.Split(r.FormValue("assertion"), "."); len(parts) != 3 {
				t.Errorf("assertion %v", parts)
			}
			io.WriteString(w, `{"access_token":"at","expires_in":3600}`)
		case r.URL.Path == "/v1/projects/p/secrets/name/versions/latest:access" && r.Header.Get("Authorization") == "Bearer at":
			io.WriteString(w, `{"payload":{"data":"`+base64.StdEncoding.EncodeToString([]byte(`{"k":"v"}`))+`"}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	conf, err := json.Marshal(map[string]any{"ssl_verify": false, "auth_config": map[string]any{
		"client_email": "e", "project_id": "p", "token_uri": server.URL + "/token", "entries_uri": server.URL + "/v1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := resolver(t, Options{})
	for ref, want := range map[string]string{
		"$secret://gcp/1/name":   `{"k":"v"} <nil>`,
		"$secret://gcp/1/name/k": "v <nil>",
		"$secret://gcp/1/other":  "invalid status code 404",
		"$secret://gcp/1//k":     "can't find main key",
	} {
		v, err := r.Value(t.Context(), ref, func(string) json.RawMessage { return conf })
		if got := fmt.Sprint(v, " ", err); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens were asked for", tokens)
	}
}

func TestUnknownManager(t *testing.T) {
	r := resolver(t, Options{})
	_, err := r.Value(t.Context(), "$secret://nobody/1/a", func(string) json.RawMessage { return json.RawMessage(`{}`) })
	if err == nil || !strings.Contains(err.Error(), "no secret manager: nobody") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Value(ctx, "$secret://vault/1/a/b", func(string) json.RawMessage { return json.RawMessage(`{"uri":"http://127.0.0.1:1"}`) })
	if err == nil || r.fails.Len() != 1 {
		t.Errorf("%v, %d failures kept", err, r.fails.Len())
	}
}

// An answer that cannot be read may have the secret in it: errors do not show it.
func TestAnswersAreNotShown(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"data":{"k":"hunter2"},"SecretString":"hunter2"`)) // cut off
	}))
	defer server.Close()
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for ref, conf := range map[string]string{
		"$secret://vault/1/a/k": `{"uri":"` + server.URL + `","prefix":"kv","token":"t"}`,
		"$secret://aws/1/a":     `{"endpoint_url":"` + server.URL + `","access_key_id":"a","secret_access_key":"b"}`,
	} {
		_, err := r.Value(t.Context(), ref, func(string) json.RawMessage { return json.RawMessage(conf) })
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
