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
	eachKey(k, value, h.Keyring.EncryptKey)
	if h.EncryptFields && k.sealed {
		h.eachConf(k, id, value, h.Keyring.EncryptFields)
	}
}

// openKeys decrypts the private keys of a value; what no key opens stays.
func (h *Handler) openKeys(k *kind, value object) {
	if h.Keyring == nil {
		return
	}
	eachKey(k, value, func(text string) string {
		plain, err := h.Keyring.DecryptKey(text)
		if err != nil {
			return text
		}
		return plain
	})
}

// eachKey passes every private key of a value through f.
func eachKey(k *kind, value object, f func(string) string) {
	change := func(in object, name string) {
		if text, ok := in[name].(string); ok {
			in[name] = f(text)
		}
	}
	up := value
	switch k.kind {
	case resource.SSLs:
		change(value, "key")
		keys, _ := value["keys"].([]any)
		for i, v := range keys {
			if text, ok := v.(string); ok {
				keys[i] = f(text)
			}
		}
		return
	case resource.Upstreams:
	case resource.Routes, resource.Services, resource.StreamRoutes:
		up, _ = value["upstream"].(object)
	default:
		return
	}
	tls, _ := up["tls"].(object)
	change(tls, "client_key")
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
