package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
	"sluice/configcenter/secret"
	"sluice/plugins"
)

// decrypted is conf with the fields in clear that the plugin's schema wants
// encrypted in the store. What cannot be decrypted stays: it may be in clear.
func (o *Options) decrypted(name string, part plugins.Part, conf json.RawMessage) json.RawMessage {
	s := o.Catalog.Schema(name, part)
	if o.Keyring == nil || s == nil || len(s.EncryptFields()) == 0 {
		return conf
	}
	doc, err := schema.Decode(conf)
	if err != nil {
		return conf // Check will say what is wrong
	}
	o.Keyring.DecryptFields(s.EncryptFields(), doc)
	plain, err := json.Marshal(doc)
	if err != nil {
		return conf
	}
	return plain
}

// decryptedKey is a private key in clear.
func (o *Options) decryptedKey(text string) string {
	if o.Keyring == nil {
		return text
	}
	plain, err := o.Keyring.DecryptKey(text)
	if err != nil {
		return text
	}
	return plain
}

// resolve puts values in the place of references to secrets in conf. used
// hears of each secret manager's configuration that conf depends on. left says
// that a reference is unresolved; it stays as it is.
func (k *compiler) resolve(conf json.RawMessage, used func(id string)) (resolved json.RawMessage, left bool) {
	lower := bytes.Contains(conf, []byte("$secret://")) || bytes.Contains(bytes.ToLower(conf), []byte("$env://"))
	if k.o.Secrets == nil || !lower {
		return conf, false
	}
	doc, err := schema.Decode(conf)
	if err != nil {
		return conf, true
	}
	doc, errs := k.o.Secrets.Fill(context.Background(), doc, func(id string) json.RawMessage {
		used(id)
		item := k.snap.Get(resource.Secrets, id)
		if item == nil {
			return nil
		}
		return item.Raw
	})
	for _, err := range errs {
		k.o.Log.Error("secret cannot be resolved", "err", err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return conf, true
	}
	return text, len(errs) > 0
}

// resolveText is resolve for one string, such as a certificate.
func (k *compiler) resolveText(s string) (string, error) {
	if !secret.IsRef(s) || k.o.Secrets == nil {
		return s, nil
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	text, left := k.resolve(quoted, func(string) {})
	if left {
		return "", fmt.Errorf("secret %s cannot be resolved", strings.SplitN(s, "?", 2)[0])
	}
	var plain string
	return plain, json.Unmarshal(text, &plain)
}

// sslInClear keeps what inClear made, so that an unchanged certificate is the
// same object in every version.
func (k *compiler) sslInClear(item *configcenter.Item) (*resource.SSL, error) {
	def := item.Value.(*resource.SSL)
	if c, ok := k.clear[item.ID]; ok && c.from == def {
		return c.to, nil
	}
	to, err := k.inClear(def)
	if err != nil {
		return nil, err
	}
	k.clear[item.ID] = clearSSL{def, to}
	return to, nil
}

type clearSSL struct{ from, to *resource.SSL }

// inClear is an ssl object with its keys decrypted and its references resolved.
func (k *compiler) inClear(s *resource.SSL) (*resource.SSL, error) {
	c := *s
	c.Certs, c.Keys = append([]string(nil), s.Certs...), append([]string(nil), s.Keys...)
	fields := []*string{&c.Cert, &c.Key}
	for i := range c.Certs {
		fields = append(fields, &c.Certs[i])
	}
	for i := range c.Keys {
		fields = append(fields, &c.Keys[i])
	}
	for _, f := range fields {
		text, err := k.resolveText(*f)
		if err != nil {
			return nil, err
		}
		*f = text
	}
	c.Key = k.o.decryptedKey(c.Key)
	for i := range c.Keys {
		c.Keys[i] = k.o.decryptedKey(c.Keys[i])
	}
	return &c, nil
}
