package gateway

import (
	"bytes"
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
// encrypted in the store.
func (o *Options) decrypted(name string, part plugins.Part, conf json.RawMessage) json.RawMessage {
	if s := o.Catalog.Schema(name, part); s != nil {
		return o.Keyring.DecryptConf(s.EncryptFields(), conf)
	}
	return conf
}

// begin starts the version of k.snap for its secrets; managers are those whose
// configurations, or values, have changed.
func (k *compiler) begin(changes []resource.Ref) {
	if k.keeper == nil {
		return
	}
	var managers []string
	for _, ref := range changes {
		if ref.Kind == resource.Secrets {
			managers = append(managers, ref.ID)
			for id := range k.sslUsers[ref.ID] {
				delete(k.clear, id)
			}
		}
	}
	snap := k.snap
	k.session = k.keeper.Begin(func(id string) json.RawMessage {
		item := snap.Get(resource.Secrets, id)
		if item == nil {
			return nil
		}
		return item.Raw
	}, managers)
}

// resolve puts values in the place of references to secrets in conf. used
// hears of each secret manager's configuration that conf depends on. left says
// that a reference is unresolved; it stays as it is.
func (k *compiler) resolve(conf json.RawMessage, used func(id string)) (resolved json.RawMessage, left bool) {
	lower := bytes.Contains(conf, []byte("$secret://")) || bytes.Contains(bytes.ToLower(conf), []byte("$env://"))
	if k.session == nil || !lower {
		return conf, false
	}
	doc, err := schema.Decode(conf)
	if err != nil {
		return conf, true
	}
	doc, errs := k.session.Fill(doc, used)
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
func (k *compiler) resolveText(s string, used func(id string)) (string, error) {
	if !secret.IsRef(s) || k.session == nil {
		return s, nil
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	text, left := k.resolve(quoted, used)
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
	to, err := k.inClear(def, func(id string) {
		if k.sslUsers[id] == nil {
			k.sslUsers[id] = map[string]struct{}{}
		}
		k.sslUsers[id][item.ID] = struct{}{}
	})
	if err != nil {
		return nil, err
	}
	k.clear[item.ID] = clearSSL{def, to}
	return to, nil
}

type clearSSL struct{ from, to *resource.SSL }

// inClear is an ssl object with its keys decrypted and its references resolved.
func (k *compiler) inClear(s *resource.SSL, used func(id string)) (*resource.SSL, error) {
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
		text, err := k.resolveText(*f, used)
		if err != nil {
			return nil, err
		}
		*f = text
	}
	c.Key = k.o.Keyring.KeyInClear(c.Key)
	for i := range c.Keys {
		c.Keys[i] = k.o.Keyring.KeyInClear(c.Keys[i])
	}
	return &c, nil
}
