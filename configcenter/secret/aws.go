package secret

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type awsConf struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token"`
	Region          string `json:"region"`
	EndpointURL     string `json:"endpoint_url"`
}

// errNotThere says that AWS has no secret of the name.
var errNotThere = errors.New("ResourceNotFoundException")

// aws reads a secret of AWS Secrets Manager. Names may have slashes in them, so
// the whole key is tried as a name first; then its last parts become the name
// of a member of the secret, which is JSON.
func (r *Resolver) aws(ctx context.Context, raw json.RawMessage, key string) (any, error) {
	var c awsConf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("aws configuration: %w", err)
	}
	if key == "" || key[0] == '/' {
		return nil, fmt.Errorf("can't find main key, key: %s", key)
	}
	for name, member := key, ""; ; {
		text, err := r.awsSecret(ctx, &c, name)
		if err == nil {
			if member == "" {
				return text, nil
			}
			return memberOf([]byte(text), member)
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 || !errors.Is(err, errNotThere) {
			return nil, fmt.Errorf("failed to retrieve data from aws secret manager: %w", err)
		}
		name, member = key[:i], key[i+1:]
	}
}

func (r *Resolver) awsSecret(ctx context.Context, c *awsConf, name string) (string, error) {
	region := orDefault(c.Region, "us-east-1")
	at, err := url.Parse(orDefault(c.EndpointURL, "https://secretsmanager."+region+".amazonaws.com"))
	if err != nil {
		return "", fmt.Errorf("endpoint_url %q: %w", c.EndpointURL, err)
	}
	body, err := json.Marshal(map[string]string{"SecretId": name, "VersionStage": "AWSCURRENT"})
	if err != nil {
		return "", err
	}
	h := http.Header{}
	h.Set("Content-Type", "application/x-amz-json-1.1")
	h.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	if token := r.own(c.SessionToken); token != "" {
		h.Set("X-Amz-Security-Token", token)
	}
	signature{
		id: r.own(c.AccessKeyID), secret: r.own(c.SecretAccessKey), region: region, service: "secretsmanager",
	}.sign(h, at.Host, string(body), r.o.Now())
	status, text, err := r.call(ctx, http.MethodPost, at.Scheme+"://"+at.Host+"/", h, string(body))
	if err != nil {
		return "", err
	}
	var answer struct {
		Type         string `json:"__type"`
		SecretString string `json:"SecretString"`
	}
	err = json.Unmarshal(text, &answer)
	switch {
	case status == http.StatusOK && err == nil:
		return answer.SecretString, nil
	case strings.Contains(answer.Type, errNotThere.Error()):
		return "", fmt.Errorf("invalid status code %d, %w", status, errNotThere)
	}
	return "", fmt.Errorf("invalid status code %d, %s", status, firstOf(status, text))
}

// signature makes AWS's signature, version 4, of a POST to "/".
type signature struct{ id, secret, region, service string }

// sign adds X-Amz-Date and Authorization.
func (s signature) sign(h http.Header, host, body string, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	day := stamp[:8]
	h.Set("X-Amz-Date", stamp)
	names := []string{"content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"}
	var lines, signed []string
	for _, name := range names {
		value := h.Get(name)
		if name == "host" {
			value = host
		}
		if value != "" {
			lines = append(lines, name+":"+value+"\n")
			signed = append(signed, name)
		}
	}
	list := strings.Join(signed, ";")
	request := "POST\n/\n\n" + strings.Join(lines, "") + "\n" + list + "\n" + hash(body)
	scope := day + "/" + s.region + "/" + s.service + "/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hash(request)
	h.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.id+"/"+scope+", SignedHeaders="+list+
		", Signature="+hex.EncodeToString(mac(s.key(day), text)))
}

// key is the key of one day.
func (s signature) key(day string) []byte {
	k := mac([]byte("AWS4"+s.secret), day)
	k = mac(k, s.region)
	k = mac(k, s.service)
	return mac(k, "aws4_request")
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
