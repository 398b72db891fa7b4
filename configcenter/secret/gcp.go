package secret

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type gcpConf struct {
	Auth      *gcpAuth `json:"auth_config"`
	AuthFile  string   `json:"auth_file"`
	SSLVerify *bool    `json:"ssl_verify"`
}

type gcpAuth struct {
	ClientEmail string   `json:"client_email"`
	PrivateKey  string   `json:"private_key"`
	ProjectID   string   `json:"project_id"`
	TokenURI    string   `json:"token_uri"`
	Scope       []string `json:"scope"`
	EntriesURI  string   `json:"entries_uri"`
}

// gcp reads a secret of Google's Secret Manager: key is its name, or its name,
// a slash, and a member of it.
func (r *Resolver) gcp(ctx context.Context, raw json.RawMessage, key string) (any, error) {
	var c gcpConf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("gcp configuration: %w", err)
	}
	name, member, hasMember := strings.Cut(key, "/")
	if name == "" {
		return nil, fmt.Errorf("can't find main key, key: %s", key)
	}
	auth, err := c.auth()
	if err != nil {
		return nil, err
	}
	if c.SSLVerify != nil && !*c.SSLVerify {
		r = r.unverified()
	}
	text, err := r.gcpSecret(ctx, auth, name)
	if err != nil {
		return nil, fmt.Errorf("failed to retrtive data from gcp secret manager: %w", err)
	}
	if !hasMember {
		return string(text), nil
	}
	return memberOf(text, member)
}

// auth returns the credentials, from their file if that is named.
func (c *gcpConf) auth() (*gcpAuth, error) {
	a := c.Auth
	if a == nil {
		text, err := os.ReadFile(c.AuthFile)
		if err != nil {
			return nil, fmt.Errorf("failed to read configuration, file: %s, err: %w", c.AuthFile, err)
		}
		a = &gcpAuth{}
		if err := json.Unmarshal(text, a); err != nil {
			return nil, fmt.Errorf("config parse failure, file: %s", c.AuthFile)
		}
	}
	out := *a
	out.TokenURI = orDefault(a.TokenURI, "https://oauth2.googleapis.com/token")
	out.EntriesURI = orDefault(a.EntriesURI, "https://secretmanager.googleapis.com/v1")
	if len(a.Scope) == 0 {
		out.Scope = []string{"https://www.googleapis.com/auth/cloud-platform"}
	}
	return &out, nil
}

// unverified is the resolver with a client that takes any certificate, for who
// has set ssl_verify to false.
func (r *Resolver) unverified() *Resolver {
	out := *r
	out.o.Client = &http.Client{CheckRedirect: r.o.Client.CheckRedirect, Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	return &out
}

func (r *Resolver) gcpSecret(ctx context.Context, a *gcpAuth, name string) ([]byte, error) {
	token, err := r.gcpToken(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("failed to get google oauth token: %w", err)
	}
	at := a.EntriesURI + "/projects/" + url.PathEscape(a.ProjectID) + "/secrets/" + url.PathEscape(name) + "/versions/latest:access"
	h := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}
	status, text, err := r.call(ctx, http.MethodGet, at, h, "")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("invalid status code %d, %s", status, firstOf(status, text))
	}
	var answer struct {
		Payload struct {
			Data []byte `json:"data"` // base64 in JSON
		} `json:"payload"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Payload.Data == nil {
		return nil, errors.New("invalid payload")
	}
	return answer.Payload.Data, nil
}

// gcpToken exchanges a signed claim for an access token, and keeps that until
// shortly before it ends.
func (r *Resolver) gcpToken(ctx context.Context, a *gcpAuth) (string, error) {
	now := r.o.Now()
	id := a.ClientEmail + "#" + a.ProjectID + "#" + hash(a.PrivateKey+a.TokenURI)
	if t, ok := r.tokens.Get(id); ok && now.Before(t.until) {
		return t.value.(string), nil
	}
	claim, err := a.claim(now)
	if err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {claim}}
	status, text, err := r.call(ctx, http.MethodPost, a.TokenURI,
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(text, &answer); status != http.StatusOK || err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("invalid status code %d, %s", status, firstOf(status, text))
	}
	const early = time.Minute
	r.tokens.Add(id, found{value: answer.AccessToken, until: now.Add(time.Duration(answer.ExpiresIn)*time.Second - early)})
	return answer.AccessToken, nil
}

// claim is a JWT that asks for a token, signed with the account's key.
func (a *gcpAuth) claim(now time.Time) (string, error) {
	block, _ := pem.Decode([]byte(a.PrivateKey))
	if block == nil {
		return "", errors.New("private_key: no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return "", errors.New("private_key: no RSA key")
	}
	body, err := json.Marshal(map[string]any{
		"iss": a.ClientEmail, "aud": a.TokenURI, "scope": strings.Join(a.Scope, " "),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}
