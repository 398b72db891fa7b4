package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"sluice/configcenter/resource"
	"sluice/gateway/redact"
	"sluice/plugins"
)

// consumers is the index of who may call: immutable, sharing what did not
// change with the version before. It implements plugins.Finder.
type consumers struct {
	byKey  *iradix.Tree[*plugins.Consumer] // plugin \x00 value of its ConsumerKey \x00… → consumer
	byName *iradix.Tree[*compiledConsumer]
}

// compiledConsumer is a consumer with all that finds it.
type compiledConsumer struct {
	plain *plugins.Consumer // as anonymous_consumer finds it
	found []found           // one for each auth part, its credentials' included
	uses  []*instanceRef
}

type found struct {
	key string
	c   *plugins.Consumer
}

// credentialsBelow stands between a consumer's name and the id of its credential.
const credentialsBelow = "/credentials/"

func newConsumers() *consumers {
	return &consumers{iradix.New[*plugins.Consumer](), iradix.New[*compiledConsumer]()}
}

// consumerKey is a key of consumers.byKey.
func consumerKey(plugin, value string) string { return plugin + "\x00" + value }

// FindConsumer implements plugins.Finder.
func (cs *consumers) FindConsumer(plugin, value string) *plugins.Consumer {
	var buf [128]byte
	k := append(append(append(buf[:0], plugin...), 0), value...)
	c, _ := cs.byKey.Get(k)
	return c
}

// ConsumerNamed implements plugins.Finder.
func (cs *consumers) ConsumerNamed(name string) *plugins.Consumer {
	c, ok := cs.byName.Get([]byte(name))
	if !ok {
		return nil
	}
	return c.plain
}

// ConsumersOf implements plugins.Finder.
func (cs *consumers) ConsumersOf(plugin string) []*plugins.Consumer {
	var all []*plugins.Consumer
	cs.byKey.Root().WalkPrefix([]byte(plugin+"\x00"), func(_ []byte, c *plugins.Consumer) bool {
		all = append(all, c)
		return false
	})
	return all
}

// compileConsumers brings the index up to date with what changed.
func (k *compiler) compileConsumers(dirty map[resource.Kind]map[string]struct{}) {
	names := k.dirtyConsumers(dirty)
	if len(names) == 0 {
		return
	}
	byKey, byName := k.consumers.byKey.Txn(), k.consumers.byName.Txn()
	var replaced []*instanceRef
	// All old keys go before any new one comes: a credential may move from one
	// consumer to another within a batch.
	olds := map[string]*compiledConsumer{}
	for _, name := range names {
		if was, ok := byName.Get([]byte(name)); ok {
			olds[name] = was
		}
	}
	news := map[string]*compiledConsumer{}
	for _, name := range names {
		now, err := k.compileConsumer(name)
		if err != nil {
			k.fail(resource.Consumers, name, err)
			now = olds[name]
		}
		news[name] = now
	}
	for _, name := range names {
		was, now := olds[name], news[name]
		if was == nil || was == now {
			continue
		}
		for _, f := range was.found {
			if c, ok := byKey.Get([]byte(f.key)); ok && c == f.c {
				byKey.Delete([]byte(f.key))
			}
		}
		byName.Delete([]byte(name))
		replaced = append(replaced, was.uses...)
	}
	for _, name := range names {
		if now := news[name]; now != nil && now != olds[name] {
			for _, f := range now.found {
				byKey.Insert([]byte(f.key), f.c)
			}
			byName.Insert([]byte(name), now)
		}
	}
	k.consumers = &consumers{byKey.Commit(), byName.Commit()}
	k.instances.release(replaced)
}

// dirtyConsumers are the names of the consumers to compile: changed, or with a
// changed credential, group or plugin metadata.
func (k *compiler) dirtyConsumers(dirty map[resource.Kind]map[string]struct{}) []string {
	set := map[string]struct{}{}
	for name := range dirty[resource.Consumers] {
		set[name] = struct{}{}
	}
	for id := range dirty[resource.Credentials] {
		if name, _, ok := strings.Cut(id, credentialsBelow); ok {
			set[name] = struct{}{}
		}
	}
	indirect := func(kind resource.Kind) {
		for id := range dirty[kind] {
			for name := range k.consumerUsers[resource.Ref{Kind: kind, ID: id}] {
				set[name] = struct{}{}
			}
		}
	}
	indirect(resource.ConsumerGroups)
	indirect(resource.PluginMetadata)
	indirect(resource.Secrets)
	indirect(resource.Protos)
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// compileConsumer compiles one consumer; nil when it does not exist.
func (k *compiler) compileConsumer(name string) (*compiledConsumer, error) {
	item := k.snap.Get(resource.Consumers, name)
	if item == nil {
		for ref, users := range k.consumerUsers {
			if delete(users, name); len(users) == 0 {
				delete(k.consumerUsers, ref)
			}
		}
		return nil, nil
	}
	def := item.Value.(*resource.Consumer)
	cc := &compiledConsumer{plain: &plugins.Consumer{Def: def}}
	extra, err := k.consumerExtra(cc, def)
	if err != nil {
		k.instances.release(cc.uses)
		return nil, err
	}
	cc.plain.Extra = extra
	add := func(credential string, ps resource.Plugins) error {
		for plugin, conf := range ps {
			if err := k.addAuth(cc, def, extra, credential, plugin, conf); err != nil {
				return err
			}
		}
		return nil
	}
	err = add("", def.Plugins)
	for item := range k.snap.Below(resource.Credentials, name+credentialsBelow) {
		id := item.ID[len(name)+len(credentialsBelow):]
		err = errors.Join(err, add(id, item.Value.(*resource.Credential).Plugins))
	}
	if err != nil {
		k.instances.release(cc.uses)
		return nil, err
	}
	return cc, nil
}

// addAuth indexes one auth part of a consumer or of its credential.
func (k *compiler) addAuth(cc *compiledConsumer, def *resource.Consumer, extra *plugins.Extra, credential, plugin string, conf json.RawMessage) error {
	spec, ok := k.o.Catalog.Spec(plugin)
	if !ok || !spec.Auth {
		return nil
	}
	meta, err := plugins.MetaOf(conf)
	if err != nil || meta.Disable {
		return err
	}
	filled, err := k.o.Catalog.Check(plugin, k.o.decrypted(plugin, plugins.ConsumerPart, conf), plugins.ConsumerPart)
	if err != nil {
		return err
	}
	resolved, left := k.resolve(filled, func(id string) { k.consumerUses(resource.Secrets, id, def.Username) })
	if left {
		return nil // fail closed: a reference is no credential
	}
	value, parsed, err := k.credential(spec, filled, resolved)
	if err != nil {
		return err
	}
	if spec.ConsumerKey == "" {
		value = string(def.Username) + "\x00" + credential
	}
	c := &plugins.Consumer{Def: def, CredentialID: credential, Conf: parsed, Extra: extra}
	cc.found = append(cc.found, found{consumerKey(plugin, value), c})
	return nil
}

// credential reads the auth part of a consumer: the value by which it is found
// and what the plugin makes of the part. Its errors show no secret.
func (k *compiler) credential(spec *plugins.Spec, conf, resolved json.RawMessage) (value string, parsed any, err error) {
	secrets := append(redact.Differing(conf, resolved), k.o.Catalog.Secrets(spec.Name, plugins.ConsumerPart, resolved)...)
	parsed = resolved
	if spec.NewConsumer != nil {
		if parsed, err = spec.MakeConsumer(resolved); err != nil {
			return "", nil, redact.New(secrets).Error(err)
		}
	}
	if spec.ConsumerKey == "" {
		return "", parsed, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(resolved, &members); err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(members[spec.ConsumerKey], &value); err != nil {
		return "", nil, fmt.Errorf("%s of plugin %s: %w", spec.ConsumerKey, spec.Name, err)
	}
	return value, parsed, nil
}

// consumerExtra builds the instances that the consumer's group and the consumer
// itself bring, the consumer's winning; nil when there are none.
func (k *compiler) consumerExtra(cc *compiledConsumer, def *resource.Consumer) (*plugins.Extra, error) {
	merged := map[string]configured{}
	add := func(owner string, ps resource.Plugins) {
		for name, conf := range ps {
			if spec, ok := k.o.Catalog.Spec(name); !ok || !spec.Auth {
				merged[name] = configured{owner, conf}
			}
		}
	}
	use := func(kind resource.Kind, id string) { k.consumerUses(kind, id, def.Username) }
	missing := false
	if id := string(def.GroupID); id != "" {
		use(resource.ConsumerGroups, id)
		if item := k.snap.Get(resource.ConsumerGroups, id); item != nil {
			add("consumer_groups/"+id, item.Value.(*resource.PluginSet).Plugins)
		} else {
			missing = true
		}
	}
	add("consumers/"+def.Username, def.Plugins)
	uses, list, err := k.instantiate(merged, use)
	cc.uses = uses
	if err != nil || len(list) == 0 && !missing {
		return nil, err
	}
	return &plugins.Extra{Instances: list, MissingGroup: missing}, nil
}

// consumerUses notes that a consumer was made from an object.
func (k *compiler) consumerUses(kind resource.Kind, id, username string) {
	ref := resource.Ref{Kind: kind, ID: id}
	if k.consumerUsers[ref] == nil {
		k.consumerUsers[ref] = map[string]struct{}{}
	}
	k.consumerUsers[ref][username] = struct{}{}
}
