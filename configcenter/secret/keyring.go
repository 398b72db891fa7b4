// Package secret keeps what must not be read by everybody: it encrypts fields
// of stored configuration with the data_encryption keyring, as APISIX does
// byte for byte, and resolves the references $env:// and $secret:// when
// something is built. It does not know which fields of what are secret: the
// schemas do.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sluice/configcenter/schema"
)

// Keyring encrypts with its first key and decrypts with any. The nil and the
// empty keyring leave everything as it is.
type Keyring struct {
	keys []key
}

// key is AES in CBC mode whose IV is the key's first block, as APISIX has it:
// equal texts have equal ciphers.
type key struct {
	block cipher.Block
	iv    []byte
}

// NewKeyring takes keys of 16 bytes (AES-128) or 32 (AES-256).
func NewKeyring(keys []string) (*Keyring, error) {
	k := &Keyring{}
	for i, text := range keys {
		if len(text) != 16 && len(text) != 32 {
			return nil, fmt.Errorf("data_encryption keyring entry %d: expected 16 or 32 bytes, got %d", i+1, len(text))
		}
		block, err := aes.NewCipher([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("data_encryption keyring entry %d: %w", i+1, err)
		}
		k.keys = append(k.keys, key{block: block, iv: []byte(text[:aes.BlockSize])})
	}
	return k, nil
}

func (k *Keyring) empty() bool { return k == nil || len(k.keys) == 0 }

// Encrypt returns the cipher of text in base64.
func (k *Keyring) Encrypt(text string) string {
	if k.empty() {
		return text
	}
	pad := aes.BlockSize - len(text)%aes.BlockSize
	buf := append([]byte(text), strings.Repeat(string(rune(pad)), pad)...)
	first := k.keys[0]
	cipher.NewCBCEncrypter(first.block, first.iv).CryptBlocks(buf, buf)
	return base64.StdEncoding.EncodeToString(buf)
}

// Decrypt is the inverse of Encrypt with any of the keys. The errors do not
// show the value.
func (k *Keyring) Decrypt(text string) (string, error) { return k.decrypt(text, "") }

func (k *Keyring) decrypt(text, what string) (string, error) {
	if k.empty() {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", errors.New("base64 decode " + what + "failed")
	}
	if len(raw) > 0 && len(raw)%aes.BlockSize == 0 {
		buf := make([]byte, len(raw))
		for _, key := range k.keys {
			cipher.NewCBCDecrypter(key.block, key.iv).CryptBlocks(buf, raw)
			if plain, ok := unpad(buf); ok {
				return string(plain), nil
			}
		}
	}
	return "", errors.New("decrypt " + what + "failed")
}

// unpad takes off PKCS #7 padding; a wrong key is known by it.
func unpad(b []byte) ([]byte, bool) {
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize || n > len(b) {
		return nil, false
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, false
		}
	}
	return b[:len(b)-n], true
}

// pemStart tells a private key in clear from an encrypted one.
const pemStart = "---"

// EncryptKey encrypts a private key in PEM form; what is not PEM, and so
// encrypted already or a reference, stays.
func (k *Keyring) EncryptKey(pem string) string {
	if !strings.HasPrefix(pem, pemStart) {
		return pem
	}
	return k.Encrypt(pem)
}

// DecryptKey is the inverse of EncryptKey.
func (k *Keyring) DecryptKey(text string) (string, error) {
	if strings.HasPrefix(text, pemStart) {
		return text, nil
	}
	return k.decrypt(text, "ssl key ")
}

// KeyInClear is DecryptKey that leaves what it cannot decrypt: it may be a
// reference, or no key at all, which its user will say.
func (k *Keyring) KeyInClear(text string) string {
	if plain, err := k.DecryptKey(text); err == nil {
		return plain
	}
	return text
}

// DecryptConf is a JSON document with the strings at the dotted paths in clear.
// What cannot be decrypted stays: it may be in clear.
func (k *Keyring) DecryptConf(fields []string, conf json.RawMessage) json.RawMessage {
	if k.empty() || len(fields) == 0 {
		return conf
	}
	doc, err := schema.Decode(conf)
	if err != nil {
		return conf // who checks it will say what is wrong
	}
	k.DecryptFields(fields, doc)
	plain, err := json.Marshal(doc)
	if err != nil {
		return conf
	}
	return plain
}

// EncryptFields encrypts, in place, the strings at the dotted paths of a
// document as made by schema.Decode. A path leads through objects and the
// items of arrays; at its end may be a string, or an array or an object of
// strings.
func (k *Keyring) EncryptFields(fields []string, conf any) {
	if k.empty() {
		return
	}
	for _, f := range fields {
		each(conf, strings.Split(f, "."), func(text string) string { return k.Encrypt(text) })
	}
}

// DecryptFields is the inverse of EncryptFields. What cannot be decrypted
// stays: it may be in clear. The errors name the paths, not the values.
func (k *Keyring) DecryptFields(fields []string, conf any) []error {
	if k.empty() {
		return nil
	}
	var errs []error
	for _, f := range fields {
		each(conf, strings.Split(f, "."), func(text string) string {
			plain, err := k.Decrypt(text)
			if err != nil {
				errs = append(errs, fmt.Errorf("field %s: %w", f, err))
				return text
			}
			return plain
		})
	}
	return errs
}

// each changes the strings at a path.
func each(v any, path []string, change func(string) string) {
	if list, ok := v.([]any); ok {
		for _, e := range list {
			each(e, path, change)
		}
		return
	}
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	name := path[0]
	if len(path) > 1 {
		each(m[name], path[1:], change)
		return
	}
	switch leaf := m[name].(type) {
	case string:
		m[name] = change(leaf)
	case []any:
		for i, e := range leaf {
			if s, ok := e.(string); ok {
				leaf[i] = change(s)
			}
		}
	case map[string]any:
		for k, e := range leaf {
			if s, ok := e.(string); ok {
				leaf[k] = change(s)
			}
		}
	}
}
