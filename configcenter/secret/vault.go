package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
)

// maxAnswer bounds what is read from a manager.
const maxAnswer = 1 << 20

type vaultConf struct {
	URI       string `json:"uri"`
	Prefix    string `json:"prefix"`
	Token     string `json:"token"`
	Namespace string `json:"namespace"`
}

// vault reads one member of a secret in HashiCorp Vault's key-value engine,
// version 1: key is the path, a slash, and the member's name.
func (r *Resolver) vault(ctx context.Context, raw json.RawMessage, key string) (any, error) {
	var c vaultConf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("vault configuration: %w", err)
	}
	i := strings.LastIndexByte(key, '/')
	switch {
	case i < 0:
		return nil, fmt.Errorf("error key format, key: %s", key)
	case i == 0:
		return nil, fmt.Errorf("can't find main key, key: %s", key)
	case i == len(key)-1:
		return nil, fmt.Errorf("can't find sub key, key: %s", key)
	}
	main, sub := key[:i], key[i+1:]
	if slices.Contains(strings.Split(main, "/"), "..") {
		return nil, fmt.Errorf("key %s: must not leave the prefix", key)
	}
	header := http.Header{"X-Vault-Token": {r.own(c.Token)}}
	if c.Namespace != "" {
		header.Set("X-Vault-Namespace", c.Namespace)
	}
	status, body, err := r.call(ctx, http.MethodGet, c.URI+path.Clean("/v1/"+c.Prefix+"/"+main), header, "{}")
	if err != nil {
		return nil, fmt.Errorf("failed to retrtive data from vault kv engine: %w", err)
	}
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Data) == 0 || string(answer.Data) == "null" {
		return nil, fmt.Errorf("failed to decode result, res: %s", firstOf(status, body))
	}
	return memberOf(answer.Data, sub)
}

// firstOf is the beginning of a manager's complaint. An answer that is none may
// have the secret in it.
func firstOf(status int, body []byte) string {
	const most = 200
	if status == http.StatusOK {
		return "an answer that cannot be read"
	}
	return strings.TrimSpace(string(body[:min(most, len(body))]))
}

// call makes one request and reads its answer.
func (r *Resolver) call(ctx context.Context, method, url string, h http.Header, body string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = h
	resp, err := r.o.Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, text, err
}
