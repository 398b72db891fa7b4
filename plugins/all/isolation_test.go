package all

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/redistest"
)

// The walk: two routes have the same plugin, alice calls the one and bob the
// other, and nobody comes without credentials. Every request carries a canary
// of its own. Nothing that comes out anywhere — answers, what the upstream gets,
// what plugins send elsewhere, log lines — may hold somebody else's, and bob
// must be answered as if alice was not there.

// party is who calls, and what must not come out for others.
type party struct{ letter, who string }

var alice, bob, nobody = party{"a", "zqalicezq"}, party{"b", "zqbobzq"}, party{"n", "zqnobodyzq"}

// spoofed is who every client claims to be. The upstream, which answers with what
// it got, must not hear of it.
const spoofed = "spoofed"

const route1, route2 = "zqroute1zq", "zqroute2zq"

func (p party) canary(n int) string { return fmt.Sprintf("zq%s%08dzq", p.letter, n) }

var (
	mark    = regexp.MustCompile(`zq(?:alice|bob|nobody|route[12]|[abn]\d{8})zq`)
	encoded = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`)
)

// marks are all that a text holds, also in base64.
func marks(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range mark.FindAllString(strings.ToLower(text), -1) {
		found[m] = true
	}
	for _, word := range encoded.FindAllString(text, -1) {
		word = strings.NewReplacer("-", "+", "_", "/").Replace(word)
		if b, err := base64.RawStdEncoding.DecodeString(word[:len(word)/4*4]); err == nil {
			for _, m := range mark.FindAll(b, -1) {
				found[string(m)] = true
			}
		}
	}
	return found
}

// owner is the letter of whom a mark belongs to, or "" for routes.
func owner(m string) string {
	switch {
	case strings.HasPrefix(m, "zqroute"):
		return ""
	case m == nobody.who:
		return nobody.letter
	}
	return m[2:3]
}

// isCanary tells those from names.
func isCanary(m string) bool { return m[3] >= '0' && m[3] <= '9' }

// foreign are the marks of a text that do not belong together: of several
// canaries, people or routes. Where answers are kept, one person may have several
// canaries.
func foreign(text string, keeps bool) []string {
	found := slices.Sorted(maps.Keys(marks(text)))
	people, routes, canaries := map[string]bool{}, 0, 0
	for _, m := range found {
		switch {
		case owner(m) == "":
			routes++
		case m == nobody.who: // who is not known is nobody
		default:
			people[owner(m)] = true
			if isCanary(m) && !keeps {
				canaries++
			}
		}
	}
	if len(people) > 1 || routes > 1 || canaries > 1 {
		return found
	}
	return nil
}

// counted wraps every plugin so that it is known whether it ran: by plugin and
// owner of the configuration.
func counted(reg plugins.Registry) (plugins.Registry, *sync.Map) {
	ran := new(sync.Map)
	wrapped := plugins.Registry{}
	for name, spec := range reg {
		own := *spec
		own.New = func(conf json.RawMessage, env *plugins.Env) (plugins.Phases, error) {
			p, err := spec.New(conf, env)
			return noted(p, func() { ran.Store(name+" "+env.Owner, true) }), err
		}
		wrapped[name] = &own
	}
	return wrapped, ran
}

func noted(p plugins.Phases, note func()) plugins.Phases {
	reply := func(f func(*plugins.Ctx) (*plugins.Reply, error)) func(*plugins.Ctx) (*plugins.Reply, error) {
		if f == nil {
			return nil
		}
		return func(c *plugins.Ctx) (*plugins.Reply, error) { note(); return f(c) }
	}
	header := func(f func(*plugins.Ctx) error) func(*plugins.Ctx) error {
		if f == nil {
			return nil
		}
		return func(c *plugins.Ctx) error { note(); return f(c) }
	}
	body := func(f plugins.BodyFunc) plugins.BodyFunc {
		if f == nil {
			return nil
		}
		return func(c *plugins.Ctx, b []byte, last bool) ([]byte, error) { note(); return f(c, b, last) }
	}
	p.Rewrite, p.Access, p.BeforeProxy = reply(p.Rewrite), reply(p.Access), reply(p.BeforeProxy)
	p.HeaderFilter, p.DelayedHeader = header(p.HeaderFilter), header(p.DelayedHeader)
	p.BodyFilter, p.DelayedBody = body(p.BodyFilter), body(p.DelayedBody)
	if f := p.Log; f != nil {
		p.Log = func(c *plugins.Ctx) { note(); f(c) }
	}
	return p
}

// TestIsolation walks all plugins.
func TestIsolation(t *testing.T) {
	reg, ran := counted(Registry())
	names := slices.Sorted(maps.Keys(reg))
	catalog, _, err := plugins.NewCatalog(reg, names)
	if err != nil {
		t.Fatal(err)
	}
	for name := range probes {
		if reg[name] == nil {
			t.Errorf("probes_test.go has %s, which is no plugin", name)
		}
	}
	redis := redistest.Single(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			var passed [2]atomic.Int64
			refuses, elsewhere := false, false
			list := probesOf(t, name)
			for i := range list {
				p := &list[i]
				refuses, elsewhere = refuses || p.refuses, elsewhere || p.elsewhere
				t.Run(p.name, func(t *testing.T) { isolate(t, catalog, reg[name], p, redis, &passed) })
			}
			for i, route := range []string{route1, route2} {
				if _, ok := ran.Load(name + " routes/" + route); !ok && !elsewhere {
					t.Errorf("%s did nothing on %s: it needs a probe in probes_test.go", name, route)
				}
				if passed[i].Load() == 0 && !refuses {
					t.Errorf("%s let no request through on %s: it needs a probe in probes_test.go", name, route)
				}
			}
		})
	}
}

// isolation is one probe of one plugin with its gateway.
type isolation struct {
	*rig
	t      *testing.T
	spec   *plugins.Spec
	probe  *probe
	serial atomic.Int32
	passed *[2]atomic.Int64
}

func isolate(t *testing.T, catalog *plugins.Catalog, spec *plugins.Spec, p *probe, redis int, passed *[2]atomic.Int64) {
	fresh := func(t *testing.T) *isolation {
		w := &isolation{rig: newRig(t, catalog), t: t, spec: spec, probe: p, passed: passed}
		w.configure(redis)
		return w
	}
	if redis != 0 && strings.Contains(p.conf, "$REDIS") {
		redistest.Do(t, redis, "FLUSHALL")
	}
	w := fresh(t)
	alone := w.sequence()
	w.finish()
	if strings.Contains(p.conf, "$REDIS") {
		redistest.Do(t, redis, "FLUSHALL")
	}
	w = fresh(t)
	var noise sync.WaitGroup
	for range 3 {
		noise.Go(w.noise)
	}
	together := w.sequence()
	noise.Wait()
	for i := range alone {
		if alone[i] != together[i] {
			t.Errorf("request %d of bob, alone:\n%s\nbeside alice:\n%s", i, alone[i], together[i])
		}
	}
	w.mixed()
	w.finish()
}

// configure writes consumers and routes.
func (w *isolation) configure(redis int) {
	w.t.Helper()
	for _, p := range []party{alice, bob, nobody} {
		parts := map[string]any{}
		for name, c := range credentials {
			if p != nobody {
				parts[name] = json.RawMessage(w.fill(c.part(p.who), "", redis))
			}
		}
		if w.spec.Name != "response-rewrite" {
			parts["response-rewrite"] = json.RawMessage(`{"headers":{"set":{"X-Of-Consumer":"` + p.who + `"}}}`)
		}
		w.put(resource.Consumers, p.who, map[string]any{"username": p.who, "plugins": parts,
			"labels": map[string]string{"department": p.who, "custom_id": p.who}})
	}
	if _, ok := credentials[w.spec.Name]; !ok && w.spec.Consumer != "" {
		w.t.Fatalf("%s has consumers: it needs credentials in probes_test.go", w.spec.Name)
	}
	if w.probe.metadata != "" {
		w.put(resource.PluginMetadata, w.spec.Name, w.fill(w.probe.metadata, "", redis))
	}
	for _, route := range []string{route1, route2} {
		others := w.probe.with
		if !w.spec.Auth {
			others += `"key-auth":{},`
		}
		up := `"upstream":{"nodes":{"` + w.echo.Listener.Addr().String() + `":1}}`
		w.put(resource.Routes, "inner"+route, `{"uri":"/*","host":"inner.`+route+`",`+up+`}`)
		w.put(resource.Routes, route, w.fill(`{"uri":"/*","host":"`+route+`","plugins":{`+others+
			`"`+w.spec.Name+`":`+w.probe.conf+`},`+up+`}`, route, redis))
	}
	if problems := w.g.Problems(); len(problems) > 0 {
		w.t.Fatalf("%s needs a probe in probes_test.go that can be used: %v", w.spec.Name, problems)
	}
}

// call is one request.
type call struct {
	party
	route  string
	canary string
	plain  bool // without the canary in the address
	status int  // wanted of the upstream
	wrong  bool // with credentials that are not good
}

// mayGet reports whether an answer may have a mark in it.
func (c *call) mayGet(m string) bool {
	switch {
	case owner(m) == "":
		return m == c.route
	case m == nobody.who:
		return c.wrong || c.party == nobody
	case isCanary(m) && !c.plain: // what is at one address may have been kept for the same person
		return m == c.canary
	}
	return owner(m) == c.letter
}

func (w *isolation) request(c *call) *http.Request {
	p := w.probe
	method, path := p.method, p.path
	if method == "" {
		method = "POST"
	}
	if path == "" {
		path = "/path"
	}
	if !c.plain {
		path += "/" + c.canary + "?q=" + c.canary
	}
	body := p.body
	if body == "" {
		body = `{"name":"$CANARY"}`
	}
	body = strings.NewReplacer("$CANARY", c.canary, "%HOST%", "inner."+c.route, "%KEY%", c.who+"key").Replace(body)
	q, err := http.NewRequest(method, "http://"+w.addr+path, nil)
	if err != nil {
		w.t.Error(err)
		return nil
	}
	if method != "GET" {
		q.Body, q.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		q.Header.Set("Content-Type", "application/json")
	} else {
		body = ""
	}
	q.Host = c.route
	q.Header.Set("X-Canary", c.canary)
	q.Header.Set("Cookie", "c="+c.canary)
	q.Header.Set("User-Agent", "ua-"+c.canary)
	q.Header.Set("X-Consumer-Username", spoofed)
	q.Header.Set("X-Forwarded-Host", c.canary)
	if c.status != 0 {
		q.Header.Set("X-Want-Status", fmt.Sprint(c.status))
	}
	var own map[string]string
	if p.headers != "" && json.Unmarshal([]byte(p.headers), &own) != nil {
		w.t.Errorf("headers of the probe: %s", p.headers)
	}
	for name, value := range own {
		q.Header.Set(name, value)
	}
	if c.party != nobody {
		sign := credentials["key-auth"].sign
		if own, ok := credentials[w.spec.Name]; ok {
			sign = own.sign
		}
		who := c.who
		if c.wrong {
			who += "x"
		}
		sign(q, body, who)
	}
	return q
}

// client keeps one connection, so that one Ctx serves all of its requests.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxConnsPerHost: 1, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
}

// do makes a call and holds the answer against what may be in it.
func (w *isolation) do(h *http.Client, c *call) *answer {
	res, err := h.Do(w.request(c))
	if err != nil {
		w.t.Errorf("%s on %s: %v", c.who, c.route, err)
		return &answer{}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Errorf("%s on %s: %v", c.who, c.route, err)
	}
	a := &answer{res.StatusCode, res.Header, plainBody(w.t, res.Header.Get("Content-Encoding"), raw)}
	if a.status < 400 {
		w.passed[strings.Index(route1+route2, c.route)/len(route1)].Add(1)
	}
	if strings.Contains(a.String(), spoofed) {
		w.t.Errorf("%s (%s) on %s passed for %s:\n%s", c.who, c.canary, c.route, spoofed, a)
	}
	for m := range marks(a.String()) {
		if !c.mayGet(m) {
			w.t.Errorf("%s (%s) on %s got %s:\n%s", c.who, c.canary, c.route, m, a)
			return a
		}
	}
	return a
}

func plainBody(t *testing.T, coding string, b []byte) string {
	var r io.Reader = bytes.NewReader(b)
	switch coding {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Errorf("gzip: %v", err)
			return ""
		}
		r = z
	case "br":
		r = brotli.NewReader(r)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("%s: %v", coding, err)
	}
	return string(text)
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a *answer) String() string { return fmt.Sprintf("%d %v\n%s", a.status, a.header, a.body) }

// changing are fields whose values differ from one run to the next.
var changing = regexp.MustCompile(`(?i)^(date|age|expires|set-cookie|retry-after|x-forwarded-port|content-length|.*-(reset|latency|time))$`)

// settled is the answer without what differs from run to run.
func (w *isolation) settled(a *answer) string {
	mask := w.probe.mask
	own := regexp.MustCompile("(?i)" + mask)
	fields := func(h http.Header) string {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(h)) {
			value := fmt.Sprint(h[name])
			if changing.MatchString(name) || mask != "" && own.MatchString(name) {
				value = "…"
			}
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
		return b.String()
	}
	body := a.body
	if t := (told{}); json.Unmarshal([]byte(body), &t) == nil && t.Method != "" {
		body = fmt.Sprintf("%s %s %s\n%s%s", t.Method, t.URI, t.Host, fields(t.Header), t.Body)
	}
	text := fmt.Sprintf("%d\n%s\n%s", a.status, fields(a.header), body)
	_, port, _ := strings.Cut(w.addr, ":")
	text = strings.ReplaceAll(text, port, "PORT")
	return dates.ReplaceAllString(addresses.ReplaceAllString(text, "ADDRESS"), "DATE")
}

var (
	addresses = regexp.MustCompile(`127\.0\.0\.1(:\d+)?`)
	dates     = regexp.MustCompile(`\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT`)
)

// sequence are bob's requests, one after the other, as he sees them answered.
func (w *isolation) sequence() []string {
	h := client()
	defer h.CloseIdleConnections()
	var seen []string
	for n := range 9 {
		c := &call{party: bob, route: route2, canary: bob.canary(n)}
		switch n {
		case 2:
			c.status = 500
		case 3:
			c.wrong = true
		case 4:
			c.party = nobody
			c.canary = nobody.canary(n)
		}
		seen = append(seen, w.settled(w.do(h, c)))
	}
	return seen
}

// noise are alice's requests on her route, of all kinds.
func (w *isolation) noise() {
	h := client()
	defer h.CloseIdleConnections()
	for n := range 12 {
		c := &call{party: alice, route: route1, canary: alice.canary(100 + int(w.serial.Add(1)))}
		if n%2 == 1 {
			c.status = 500
		}
		c.wrong = n%5 == 4
		w.do(h, c)
	}
}

// mixed lets everybody call everything, in turn on the same connections.
func (w *isolation) mixed() {
	var all sync.WaitGroup
	for g := range 3 {
		all.Go(func() {
			h := client()
			defer h.CloseIdleConnections()
			for n := range 18 {
				p := []party{alice, bob, nobody}[(n+g)%3]
				c := &call{party: p, route: []string{route1, route2}[n/3%2], canary: p.canary(1000 + int(w.serial.Add(1))), plain: n >= 12}
				if n%7 == 6 {
					c.status = 500
				}
				w.do(h, c)
			}
		})
	}
	all.Wait()
}

// finish stops the gateway, so that everything has been delivered, and looks
// through all that came out beside the answers.
func (w *isolation) finish() {
	w.close()
	items := w.sink.all()
	for line := range strings.Lines(w.log.String()) {
		items = append(items, payload{"log", line})
	}
	for line := range strings.Lines(w.accessLog()) {
		items = append(items, payload{"access log", line})
	}
	files, _ := filepath.Glob(filepath.Join(w.dir, "zqroute*.log"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			w.t.Error(err)
		}
		for line := range strings.Lines(string(text)) {
			items = append(items, payload{filepath.Base(f), filepath.Base(f) + ": " + line})
		}
	}
	for _, p := range items {
		if found := foreign(p.text, w.probe.keeps); found != nil {
			w.t.Errorf("%s holds %v at once:\n%s", p.from, found, p.text)
			return
		}
	}
	elsewhere := regexp.MustCompile(`\$(HTTP|PORT|SINK|DIR)\b`).MatchString(w.probe.conf + w.probe.metadata)
	if elsewhere && !slices.ContainsFunc(items, func(p payload) bool {
		return !slices.Contains([]string{"upstream", "log", "access log"}, p.from) && len(marks(p.text)) > 0
	}) {
		w.t.Error("nothing arrived where the configuration sends it: the walk sees nothing")
	}
}
