package admin

import (
	"strings"

	"sluice/admin/inspect"
	"sluice/configcenter/resource"
	"sluice/plugins"
)

// seal encrypts what of a value must not lie in the store in clear: the
// encrypt_fields of its plugins, and private keys in PEM form.
func (h *Handler) seal(k *kind, id string, value object) {
	if h.Keyring == nil {
		return
	}
	switch k.kind {
	case resource.SSLs:
		h.sealKey(value, "key")
		if keys, ok := value["keys"].([]any); ok {
			for i, v := range keys {
				if text, ok := v.(string); ok && strings.HasPrefix(text, "---") {
					keys[i] = h.Keyring.Encrypt(text)
				}
			}
		}
	case resource.Upstreams:
		h.sealClientKey(value)
	case resource.Routes, resource.Services, resource.StreamRoutes:
		up, _ := value["upstream"].(object)
		h.sealClientKey(up)
	}
	if h.EncryptFields && k.sealed {
		h.eachSecretField(k, id, value, h.Keyring.Encrypt)
	}
}

func (h *Handler) sealClientKey(up object) {
	if tls, ok := up["tls"].(object); ok {
		h.sealKey(tls, "client_key")
	}
}

func (h *Handler) sealKey(in object, name string) {
	if text, ok := in[name].(string); ok && strings.HasPrefix(text, "---") {
		in[name] = h.Keyring.Encrypt(text)
	}
}

// unseal decrypts the encrypt_fields of a value's plugins; what no key opens
// stays as it is. Private keys stay encrypted.
func (h *Handler) unseal(k *kind, id string, value object) {
	if h.Keyring == nil || !h.EncryptFields || !k.sealed {
		return
	}
	h.eachSecretField(k, id, value, func(text string) string {
		plain, err := h.Keyring.Decrypt(text)
		if err != nil {
			return text
		}
		return plain
	})
}

// eachSecretField passes every string under encrypt_fields through f.
func (h *Handler) eachSecretField(k *kind, id string, value object, f func(string) string) {
	if k.part == plugins.MetadataPart {
		if s, err := h.metadataSchema(id); err == nil && s != nil {
			inspect.MapFields(value, s.EncryptFields(), f)
		}
		return
	}
	enabled, _ := h.Plugins()
	confs, _ := value["plugins"].(object)
	for name, v := range confs {
		conf, ok := v.(object)
		if s := enabled.Schema(name, k.part); ok && s != nil {
			inspect.MapFields(conf, s.EncryptFields(), f)
		}
	}
}
