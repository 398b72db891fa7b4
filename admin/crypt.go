package admin

import (
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
		keys, _ := value["keys"].([]any)
		for i, v := range keys {
			if text, ok := v.(string); ok {
				keys[i] = h.Keyring.EncryptKey(text)
			}
		}
	case resource.Upstreams:
		h.sealClientKey(value)
	case resource.Routes, resource.Services, resource.StreamRoutes:
		up, _ := value["upstream"].(object)
		h.sealClientKey(up)
	}
	if h.EncryptFields && k.sealed {
		h.eachConf(k, id, value, h.Keyring.EncryptFields)
	}
}

func (h *Handler) sealClientKey(up object) {
	if tls, ok := up["tls"].(object); ok {
		h.sealKey(tls, "client_key")
	}
}

func (h *Handler) sealKey(in object, name string) {
	if text, ok := in[name].(string); ok {
		in[name] = h.Keyring.EncryptKey(text)
	}
}

// unseal decrypts the encrypt_fields of a value's plugins; what no key opens
// stays as it is. Private keys stay encrypted.
func (h *Handler) unseal(k *kind, id string, value object) {
	if h.Keyring == nil || !h.EncryptFields || !k.sealed {
		return
	}
	h.eachConf(k, id, value, func(fields []string, conf any) {
		for _, err := range h.Keyring.DecryptFields(fields, conf) {
			h.Log.Debug("stored value not decrypted", "key", h.key(k.kind, id), "err", err)
		}
	})
}

// eachConf calls f for every plugin configuration in a value that has encrypt_fields.
func (h *Handler) eachConf(k *kind, id string, value object, f func(fields []string, conf any)) {
	if k.part == plugins.MetadataPart {
		if s, err := h.metadataSchema(id); err == nil && s != nil {
			f(s.EncryptFields(), value)
		}
		return
	}
	enabled, _ := h.Plugins()
	confs, _ := value["plugins"].(object)
	for name, conf := range confs {
		if s := enabled.Schema(name, k.part); s != nil {
			f(s.EncryptFields(), conf)
		}
	}
}
