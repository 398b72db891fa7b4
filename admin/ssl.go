package admin

import (
	"errors"
	"fmt"

	"sluice/admin/inspect"
)

var errSealed = errors.New("failed to decrypt previous encrypted key")

func (h *Handler) checkSSL(c *candidate) *answer {
	if bad := c.valid(); bad != nil {
		return bad
	}
	if err := h.checkSSLCerts(c.value); err != nil {
		return refusal("%s", err)
	}
	return nil
}

func (h *Handler) checkSSLCerts(conf object) error {
	cert, _ := conf["cert"].(string)
	key, _ := conf["key"].(string)
	if !inspect.IsSecretRef(cert) && !inspect.IsSecretRef(key) {
		if err := h.checkPair(cert, key); err != nil {
			return err
		}
	}
	if conf["type"] == "client" {
		return nil
	}
	certs, _ := conf["certs"].([]any)
	keys, _ := conf["keys"].([]any)
	if len(certs) != len(keys) {
		return errors.New("mismatched number of certs and keys")
	}
	for i := range certs {
		cert, _ := certs[i].(string)
		key, _ := keys[i].(string)
		if inspect.IsSecretRef(cert) || inspect.IsSecretRef(key) {
			continue
		}
		if err := h.checkPair(cert, key); err != nil {
			return fmt.Errorf("failed to handle cert-key pair[%d]: %w", i+1, err)
		}
	}
	client, _ := conf["client"].(object)
	if ca, ok := client["ca"].(string); ok && !inspect.IsSecretRef(ca) {
		if err := inspect.CheckCert(ca); err != nil {
			return fmt.Errorf("failed to validate client_cert: %w", err)
		}
	}
	return nil
}

// checkPair checks that both parse; that they belong together is not checked.
func (h *Handler) checkPair(cert, key string) error {
	if err := inspect.CheckCert(cert); err != nil {
		return err
	}
	if h.Keyring != nil {
		plain, err := h.Keyring.DecryptKey(key)
		if err != nil {
			return errSealed
		}
		key = plain
	}
	return inspect.CheckKey(key)
}
