package admin

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

var (
	errCert   = errors.New("failed to parse cert: PEM_read_bio_X509_AUX() failed")
	errKey    = errors.New("failed to parse key: PEM_read_bio_PrivateKey() failed")
	errSealed = errors.New("failed to decrypt previous encrypted key")
)

func (h *Handler) checkSSL(c *candidate) *answer {
	if bad := c.valid(); bad != nil {
		return bad
	}
	if err := h.checkSSLCerts(c.value); err != nil {
		return refusal("%s", err)
	}
	return nil
}

func (h *Handler) checkSSLCerts(value object) error {
	cert, _ := value["cert"].(string)
	key, _ := value["key"].(string)
	if !isSecretRef(cert) && !isSecretRef(key) {
		if err := h.checkPair(cert, key); err != nil {
			return err
		}
	}
	if value["type"] == "client" {
		return nil
	}
	certs, _ := value["certs"].([]any)
	keys, _ := value["keys"].([]any)
	if len(certs) != len(keys) {
		return errors.New("mismatched number of certs and keys")
	}
	for i := range certs {
		cert, _ := certs[i].(string)
		key, _ := keys[i].(string)
		if isSecretRef(cert) || isSecretRef(key) {
			continue
		}
		if err := h.checkPair(cert, key); err != nil {
			return fmt.Errorf("failed to handle cert-key pair[%d]: %w", i+1, err)
		}
	}
	client, _ := value["client"].(object)
	if ca, ok := client["ca"].(string); ok && !isSecretRef(ca) {
		if err := checkCert(ca); err != nil {
			return fmt.Errorf("failed to validate client_cert: %w", err)
		}
	}
	return nil
}

// checkPair checks that both parse; that they belong together is not checked.
func (h *Handler) checkPair(cert, key string) error {
	if err := checkCert(cert); err != nil {
		return err
	}
	if !strings.HasPrefix(key, "---") {
		if h.Keyring == nil {
			return errSealed
		}
		plain, err := h.Keyring.Decrypt(key)
		if err != nil {
			return errSealed
		}
		key = plain
	}
	return checkKey(key)
}

func checkCert(text string) error {
	n := 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if !strings.HasSuffix(block.Type, "CERTIFICATE") {
			return errCert
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return errCert
		}
	}
	if n == 0 {
		return errCert
	}
	return nil
}

// checkKey accepts the first private key in the text; an EC key may have its
// parameters in front.
func checkKey(text string) error {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errKey
		}
		switch block.Type {
		case "PRIVATE KEY":
			_, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			return keyFault(err)
		case "RSA PRIVATE KEY":
			_, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			return keyFault(err)
		case "EC PRIVATE KEY":
			_, err := x509.ParseECPrivateKey(block.Bytes)
			return keyFault(err)
		}
	}
}

func keyFault(err error) error {
	if err != nil {
		return errKey
	}
	return nil
}
