package all

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/admin"
	"sluice/configcenter"
	"sluice/configcenter/memory"
	"sluice/configcenter/resource"
	"sluice/configcenter/secret"
	"sluice/gateway"
	"sluice/gateway/lua"
	"sluice/gateway/redact"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router"
)

// marker is a secret that must be seen nowhere.
const marker = "tops3cret-marker-value"

// variants are configurations of a plugin with the secret in them: each text of
// each README example in turn as a reference, and each of its encrypt_fields in clear.
func variants(t *testing.T, catalog *plugins.Catalog, name string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(dir, name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	add := func(doc any) {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	fields := catalog.Schema(name, plugins.Conf).EncryptFields()
	for _, m := range fences.FindAllStringSubmatch(string(readme), -1) {
		var doc map[string]any
		if err := json.Unmarshal([]byte(m[1]), &doc); err != nil {
			t.Fatal(err)
		}
		eachText(doc, func(set func(any), was string) {
			set("$env://SECRET")
			add(doc)
			set(was)
		})
		for _, f := range fields {
			if path := strings.Split(f, "."); len(path) == 1 {
				was, had := doc[f]
				doc[f] = marker
				add(doc)
				if doc[f] = was; !had {
					delete(doc, f)
				}
			}
		}
	}
	return list
}

// eachText calls f for every text in a document, with what replaces it.
func eachText(v any, f func(set func(any), was string)) {
	visit := func(e any, set func(any)) {
		if s, ok := e.(string); ok {
			f(set, s)
		} else {
			eachText(e, f)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			visit(v[k], func(e any) { v[k] = e })
		}
	case []any:
		for i := range v {
			visit(v[i], func(e any) { v[i] = e })
		}
	}
}

// talkative is the registry with plugins that tell all they know, in one of
// several ways, when they are built or run.
func talkative(how string) plugins.Registry {
	reg := Registry()
	for name, spec := range reg {
		s := *spec
		mk := s.New
		s.New = func(conf json.RawMessage, env *plugins.Env) (plugins.Phases, error) {
			env.Log.Warn("built with "+string(conf), "conf", conf)
			if how == "refuse" {
				return plugins.Phases{}, fmt.Errorf("cannot use %s", conf)
			}
			p, err := mk(conf, env)
			if err != nil {
				return p, err
			}
			conf = bytes.Clone(conf)
			p = plugins.Phases{Close: p.Close} // what it would write into answers is meant to be there
			p.Rewrite = func(c *plugins.Ctx) (*plugins.Reply, error) {
				c.Log().Error("running with "+string(conf), "conf", conf)
				if how == "panic" {
					panic(string(conf))
				}
				return nil, fmt.Errorf("cannot run with %s", conf)
			}
			return p, nil
		}
		if s.NewConsumer != nil {
			s.NewConsumer = func(conf json.RawMessage) (any, error) { return nil, fmt.Errorf("cannot read %s", conf) }
		}
		reg[name] = &s
	}
	return reg
}

// answers takes what is sent.
type answers struct{ text strings.Builder }

func (a *answers) Send(r *wire.Response, _ wire.BodyFilter) (wire.Sent, error) {
	for name, value := range r.Header.All() {
		fmt.Fprintln(&a.text, name, value)
	}
	b, err := io.ReadAll(r.Body)
	a.text.Write(b)
	return wire.Sent{Total: int64(len(b)), Body: int64(len(b))}, err
}
func (*answers) Inform(int, *wire.Header) error { return nil }
func (*answers) Tunnel(*wire.Response, io.ReadWriteCloser) (wire.Sent, error) {
	return wire.Sent{}, nil
}

// TestSecretsStaySecret walks all plugins with secrets in their configuration
// and lets them be refused, fail, panic and log: the secret is in no log, no
// answer and no error that anybody sees.
func TestSecretsStaySecret(t *testing.T) {
	for _, how := range []string{"refuse", "error", "panic"} {
		t.Run(how, func(t *testing.T) { walkSecrets(t, how) })
	}
}

func walkSecrets(t *testing.T, how string) {
	reg, shared, out := talkative(how), &plugins.Shared{}, &text{}
	var names []string
	for name := range reg {
		names = append(names, name)
	}
	catalog, _, err := plugins.NewCatalog(reg, names)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.NewResolver(secret.Options{Env: func(string) (string, bool) { return marker, true }})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(out, nil))
	host, release := lua.Share(shared, lua.Options{Log: logger})
	defer release()
	g := gateway.New(gateway.Options{Catalog: catalog, Shared: shared, Log: logger, Mode: router.HostURI, Lua: host,
		Secrets: secrets, Grace: time.Millisecond})
	center := memory.New("/apisix")
	handler, err := admin.New(admin.Options{Store: center, Registry: reg, Log: logger, TryPlugin: g.TryPlugin,
		Plugins: func() (admin.Plugins, admin.Plugins) { return catalog, catalog }})
	if err != nil {
		t.Fatal(err)
	}
	var items []configcenter.Change
	var seen strings.Builder
	for _, name := range names {
		for _, conf := range variants(t, catalog, name) {
			body := fmt.Sprintf(`{"uri":"/%d","plugins":{%q:%s}}`, len(items), name, conf)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("PUT", "/apisix/admin/routes/try", strings.NewReader(body)))
			if w.Code >= 400 {
				fmt.Fprintln(&seen, w.Body)
			}
			items = append(items, configcenter.Change{Kind: resource.Routes, ID: strconv.Itoa(len(items)), Value: json.RawMessage(body), Create: 1, Mod: 1})
		}
		if s := reg[name]; s.Consumer != "" && len(catalog.Schema(name, plugins.ConsumerPart).EncryptFields()) > 0 {
			conf := fmt.Sprintf(`{"username":"u%d","plugins":{%q:{"key":%q,"username":"u","password":%q,"secret":%q,"key_id":"k","secret_key":%q}}}`,
				len(items), name, marker, marker, marker, marker)
			items = append(items, configcenter.Change{Kind: resource.Consumers, ID: "u" + strconv.Itoa(len(items)), Value: json.RawMessage(conf), Create: 1, Mod: 1})
		}
	}
	t.Chdir(t.TempDir()) // where the secret is taken for a file's name
	rev := center.Replace(items)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.Follow(ctx, center) }()
	<-g.Live(rev)
	for _, p := range g.Problems() {
		fmt.Fprintln(&seen, p.Err)
	}
	a := &answers{}
	for i := range items {
		x := &wire.Exchange{Context: ctx, Sender: a}
		x.Req = wire.Request{Method: "GET", Target: "/" + strconv.Itoa(i), Host: "foo.com", Major: 1, Minor: 1, Body: strings.NewReader(""),
			Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Local: netip.MustParseAddrPort("127.0.0.1:9080")}
		g.Serve(x)
	}
	cancel()
	<-done
	g.Close()
	for where, text := range map[string]string{"log": out.String(), "answers and problems": seen.String() + a.text.String()} {
		for line := range strings.Lines(text) {
			if strings.Contains(line, marker) {
				t.Fatalf("%s show the secret: %s", where, line)
			}
		}
	}
	if n := strings.Count(out.String()+seen.String(), redact.Mask); n < len(items) {
		t.Errorf("the secret was kept out of %d texts only, of %d configurations", n, len(items))
	}
}
