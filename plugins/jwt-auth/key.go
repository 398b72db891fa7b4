package jwtauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

// credential is a consumer's part: one algorithm with a key of its kind. A
// token cannot choose another.
type credential struct {
	algorithm string
	grace     int64         // seconds
	mac       *consumer.MAC // of HS…
	method    jwt.SigningMethod
	public    crypto.PublicKey
	unusable  error // why no token can be verified
}

type consumerConfig struct {
	Secret       *string `json:"secret"`
	PublicKey    *string `json:"public_key"`
	Algorithm    string  `json:"algorithm"`
	Base64Secret bool    `json:"base64_secret"`
	Grace        int64   `json:"lifetime_grace_period"`
}

var hashes = map[string]crypto.Hash{"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512}

func newConsumer(conf json.RawMessage) (any, error) {
	var c consumerConfig
	if err := plugins.Decode(conf, &c); err != nil {
		return nil, err
	}
	own := &credential{algorithm: c.Algorithm, grace: c.Grace}
	h, shared := hashes[c.Algorithm]
	if shared && c.Secret == nil {
		return nil, errors.New(`property "secret" is required when using HS based algorithms`)
	}
	secret := []byte(nil)
	if c.Secret != nil {
		secret = []byte(*c.Secret)
		if c.Base64Secret {
			var ok bool
			if secret, ok = consumer.DecodeBase64(*c.Secret); !ok {
				return nil, errors.New("base64_secret required but the secret is not in base64 format")
			}
		}
	}
	if shared {
		own.mac = consumer.NewMAC(h.New, secret)
		if len(secret) == 0 {
			own.unusable = errors.New("the secret of the consumer is empty")
		}
		return own, nil
	}
	if c.PublicKey == nil {
		return nil, errors.New("missing valid public key")
	}
	own.method = jwt.GetSigningMethod(c.Algorithm)
	// As in APISIX, a key of no use is no reason to refuse the consumer: its
	// tokens are refused.
	if own.public, own.unusable = publicKey(*c.PublicKey, c.Algorithm); own.unusable != nil {
		own.unusable = fmt.Errorf("public key of the consumer: %w", own.unusable)
	}
	return own, nil
}

// verify checks the signature of t, which it decodes behind scratch.
func (own *credential) verify(t *token, scratch []byte) error {
	switch {
	case t.algorithm != own.algorithm:
		return errors.New("algorithm mismatch, expected " + own.algorithm)
	case own.unusable != nil:
		return own.unusable
	}
	signature, err := strict.AppendDecode(scratch, []byte(t.signature))
	switch {
	case err != nil:
		return errors.New("failed to decode signature")
	case own.mac != nil:
		if own.mac.Verify(t.signed, signature) {
			return nil
		}
	case own.method.Verify(t.signed, signature, own.public) == nil:
		return nil
	}
	return errors.New("signature mismatch")
}

// minRSABits is the size below which keys can be broken; crypto/rsa has it, too.
const minRSABits = 1024

// publicKey reads a key in PEM and holds it against the algorithm.
func publicKey(text, algorithm string) (crypto.PublicKey, error) {
	key, err := readKey(text)
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("RSA key of %d bits is too short, want at least %d", bits, minRSABits)
		}
		if algorithm[:2] == "RS" || algorithm[:2] == "PS" {
			return k, nil
		}
	case *ecdsa.PublicKey:
		if curves[algorithm] == k.Curve.Params().BitSize {
			return k, nil
		}
	case ed25519.PublicKey:
		if algorithm == "EdDSA" {
			return k, nil
		}
	}
	return nil, fmt.Errorf("key of type %T is not for algorithm %s", key, algorithm)
}

// curves are the sizes in bits of the curves that go with ES….
var curves = map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}

// readKey reads a public key, or the public part of a certificate or a private key.
func readKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM block %q is no key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key of type %T cannot sign", key)
	}
	return signer.Public(), nil
}
