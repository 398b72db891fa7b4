package configcenter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/configcenter/resource"
)

func route(id string, mod int64, text string) Change {
	return Change{Kind: resource.Routes, ID: id, Value: []byte(text), Create: 1, Mod: mod}
}

func simple(i int) string {
	return fmt.Sprintf(`{"id":"%d","name":"route %d","uri":"/api/v1/%d/*","methods":["GET","POST"],"host":"h%d.example.com",`+
		`"plugins":{"limit-count":{"count":2,"time_window":60,"rejected_code":503,"key":"remote_addr"},"prometheus":{}},`+
		`"upstream":{"type":"roundrobin","nodes":{"10.0.0.%d:8080":1,"10.0.1.%d:8080":1}},"create_time":1700000000,"update_time":1700000000}`,
		i, i, i, i%100, i%250, i%250)
}

func ids(s *Snapshot, k resource.Kind) string {
	var out []string
	for item := range s.All(k) {
		out = append(out, item.ID)
	}
	return strings.Join(out, " ")
}

func TestEmptySnapshot(t *testing.T) {
	var s *Snapshot
	if s.Get(resource.Routes, "1") != nil || s.Len(resource.Routes) != 0 || s.Rev() != 0 ||
		s.ModRev(resource.Routes) != 0 || s.Changes() != nil || s.Problems() != nil || ids(s, resource.Routes) != "" {
		t.Error("the nil snapshot is not empty")
	}
}

func TestNextFillsDefaultsAndSetsTheID(t *testing.T) {
	var s *Snapshot
	s, bad := s.Next(Batch{Rev: 5, Full: true, Changes: []Change{
		route("9", 4, `{"id":"other","uri":"/a","upstream":{"nodes":{"a:80":1}}}`)}})
	if len(bad) != 0 {
		t.Fatal(bad)
	}
	r := s.Get(resource.Routes, "9").Value.(*resource.Route)
	if r.ID != "9" || r.Status == nil || *r.Status != 1 || r.Upstream.PassHost != "pass" {
		t.Errorf("got %+v", r)
	}
	if s.Rev() != 5 || s.ModRev(resource.Routes) != 4 || s.Len(resource.Routes) != 1 {
		t.Errorf("rev %d, mod %d, len %d", s.Rev(), s.ModRev(resource.Routes), s.Len(resource.Routes))
	}
	if key := s.Get(resource.Routes, "9").Key; key != "/routes/9" {
		t.Errorf("key %s", key)
	}
}

func TestDigestTellsVersionsApart(t *testing.T) {
	seen := map[string]string{}
	for name, changes := range map[string][]Change{
		"empty": nil, "one": {route("1", 3, simple(1))}, "another": {route("2", 3, simple(1))},
		"text": {route("1", 3, simple(2))}, "revision": {route("1", 4, simple(1))},
		"two": {route("1", 3, simple(1)), route("2", 4, simple(1))},
	} {
		s, bad := (*Snapshot)(nil).Next(Batch{Rev: 9, Full: true, Changes: changes})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		again, _ := s.Next(Batch{Rev: 10, Full: true, Changes: changes})
		if again.Digest() != s.Digest() {
			t.Errorf("%s: the same objects have two digests", name)
		}
		if other, ok := seen[s.Digest()]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[s.Digest()] = name
	}
}

func TestSameRevisionIsTheSamePointer(t *testing.T) {
	var s *Snapshot
	full := Batch{Rev: 5, Full: true, Changes: []Change{route("1", 3, simple(1)), route("2", 4, simple(2))}}
	one, _ := s.Next(full)
	full.Rev = 9
	two, bad := one.Next(full)
	if len(bad) != 0 || len(two.Changes()) != 0 || two.Rev() != 9 {
		t.Fatalf("changes %v, problems %v", two.Changes(), bad)
	}
	for _, id := range []string{"1", "2"} {
		if one.Get(resource.Routes, id) != two.Get(resource.Routes, id) {
			t.Errorf("route %s was made anew", id)
		}
	}
	three, _ := two.Next(Batch{Rev: 10, Changes: []Change{route("1", 10, simple(1))}})
	if three.Get(resource.Routes, "1").Value != one.Get(resource.Routes, "1").Value || len(three.Changes()) != 0 {
		t.Error("the same text under a new revision was decoded again")
	}
	if three.Get(resource.Routes, "1").Mod != 10 {
		t.Error("the new revision is not shown")
	}
}

func TestChangesNameWhatDiffers(t *testing.T) {
	var s *Snapshot
	s, _ = s.Next(Batch{Rev: 1, Full: true, Changes: []Change{route("1", 1, simple(1)), route("2", 1, simple(2)), route("3", 1, simple(3))}})
	if got := fmt.Sprint(s.Changes()); got != "[{routes 1} {routes 2} {routes 3}]" {
		t.Errorf("first: %s", got)
	}
	n, _ := s.Next(Batch{Rev: 4, Changes: []Change{
		route("2", 2, simple(4)),
		{Kind: resource.Routes, ID: "3", Mod: 4},
		{Kind: resource.Routes, ID: "none", Mod: 4},
	}})
	if got := fmt.Sprint(n.Changes()); got != "[{routes 2} {routes 3}]" {
		t.Errorf("then: %s", got)
	}
	if n.ModRev(resource.Routes) != 4 || ids(n, resource.Routes) != "1 2" || ids(s, resource.Routes) != "1 2 3" {
		t.Errorf("mod %d, now %s, before %s", n.ModRev(resource.Routes), ids(n, resource.Routes), ids(s, resource.Routes))
	}
	f, _ := n.Next(Batch{Rev: 6, Full: true, Changes: []Change{route("2", 2, simple(4))}})
	if got := fmt.Sprint(f.Changes(), f.ModRev(resource.Routes)); got != "[{routes 1}] 6" {
		t.Errorf("full: %s", got)
	}
}

func TestBadObjectsKeepTheirLastGoodForm(t *testing.T) {
	var s *Snapshot
	s, _ = s.Next(Batch{Rev: 1, Full: true, Changes: []Change{route("1", 1, simple(1)), route("2", 1, simple(2))}})
	good := s.Get(resource.Routes, "1")
	s, bad := s.Next(Batch{Rev: 2, Changes: []Change{
		route("1", 2, `{"uri":5}`), route("2", 2, simple(3)), route("new", 2, `"text"`), route("x", 2, `init_dir`)}})
	var texts []string
	for _, p := range bad {
		texts = append(texts, p.Err.Error())
	}
	for i, want := range []string{
		`failed to check item data of [/routes/1] err:property "uri" validation failed: wrong type: expected string, got number`,
		`invalid item data of [/routes/new], val: "text", it should be an object`,
		`invalid item data of [/routes/x], `,
	} {
		if i >= len(texts) || !strings.HasPrefix(texts[i], want) {
			t.Errorf("problem %d of %q is not %q", i, texts, want)
		}
	}
	if s.Get(resource.Routes, "1") != good || s.Get(resource.Routes, "new") != nil {
		t.Error("a bad object replaced a good one")
	}
	if got := fmt.Sprint(s.Changes()); got != "[{routes 2}]" {
		t.Errorf("changes %s", got)
	}
	// The same bad revision in a full batch is no news, and stays a problem.
	s, bad = s.Next(Batch{Rev: 3, Full: true, Changes: []Change{route("1", 2, `{"uri":5}`), route("2", 2, simple(3))}})
	if len(bad) != 0 || len(s.Problems()) != 1 || s.Get(resource.Routes, "1") != good {
		t.Errorf("new problems %v, standing %v", bad, s.Problems())
	}
	s, _ = s.Next(Batch{Rev: 4, Changes: []Change{route("1", 4, simple(7))}})
	if len(s.Problems()) != 0 {
		t.Errorf("still %v", s.Problems())
	}
}

func TestEveryKindIsTaken(t *testing.T) {
	long := strings.Repeat("x", 128)
	raw := map[resource.Kind][2]string{
		resource.Services:               {"1", `{}`},
		resource.Upstreams:              {"1", `{"nodes":{"a":1}}`},
		resource.Consumers:              {"bob", `{"username":"bob"}`},
		resource.Credentials:            {"bob/credentials/1", `{"plugins":{"key-auth":{"key":"a"}}}`},
		resource.ConsumerGroups:         {"1", `{"id":"1","plugins":{}}`},
		resource.SSLs:                   {"1", `{"sni":"a.com","cert":"` + long + `","key":"` + long + `"}`},
		resource.GlobalRules:            {"1", `{"id":"1","plugins":[]}`},
		resource.PluginConfigs:          {"1", `{"id":"1","plugins":{}}`},
		resource.PluginMetadata:         {"syslog", `{"id":"syslog","name":7}`},
		resource.Protos:                 {"1", `{"content":"x"}`},
		resource.StreamRoutes:           {"1", `{"server_port":9100}`},
		resource.Secrets:                {"vault/1", `{"uri":"http://v:8200","prefix":"kv","token":"t"}`},
		resource.GraphQLCostDecorations: {"1/graphql_cost_decorations/2", `{"field_path":"Query.a"}`},
		resource.PluginList:             {"", `[{"name":"a"},{"name":"b","stream":true}]`},
		resource.Routes:                 {"1", simple(1)},
	}
	var b Batch
	for _, info := range resource.Kinds {
		c, ok := raw[info.Kind]
		if !ok {
			t.Fatalf("no example of %s", info.Kind)
		}
		b.Changes = append(b.Changes, Change{Kind: info.Kind, ID: c[0], Value: []byte(c[1]), Mod: 1})
	}
	var s *Snapshot
	s, bad := s.Next(b)
	for _, p := range bad {
		t.Error(p.Err)
	}
	for k, c := range raw {
		if s.Get(k, c[0]) == nil {
			t.Errorf("%s %q is missing", k, c[0])
		}
		if gotK, gotID, ok := ParsePath(Path(k, c[0])); !ok || gotK != k || gotID != c[0] {
			t.Errorf("ParsePath(%s) = %s %q %v", Path(k, c[0]), gotK, gotID, ok)
		}
	}
	n := 0
	for range s.Below(resource.Credentials, "bob/credentials/") {
		n++
	}
	if n != 1 {
		t.Errorf("%d credentials of bob", n)
	}
	if _, bad := s.Next(Batch{Changes: []Change{{Kind: resource.Secrets, ID: "nobody/1", Value: []byte(`{}`)}}}); len(bad) != 1 {
		t.Error("a secret of an unknown manager was taken")
	}
}

func TestParsePathRefusesOthers(t *testing.T) {
	for _, p := range []string{"", "/", "/routes", "/routes/", "/cars/1", "routes/1", "/credentials/1", "/secrets/vault", "/secrets/a/b/c",
		"/gen_id", "/data_plane/server_info/1", "/plugins/x", "/graphql_cost_decorations/1"} {
		if k, id, ok := ParsePath(p); ok {
			t.Errorf("ParsePath(%q) = %s %q", p, k, id)
		}
	}
}

func TestCoalesce(t *testing.T) {
	b := Coalesce(
		Batch{Rev: 1, Changes: []Change{route("0", 1, `0`)}},
		Batch{Rev: 2, Full: true, Changes: []Change{route("1", 1, `a`), route("2", 1, `a`)}},
		Batch{Rev: 3, Changes: []Change{route("2", 3, `b`), route("3", 3, `b`)}},
		Batch{Rev: 4, Changes: []Change{{Kind: resource.Routes, ID: "1", Mod: 4}}},
	)
	var got []string
	for _, c := range b.Changes {
		got = append(got, c.ID+"="+string(c.Value))
	}
	if !slices.Equal(got, []string{"1=", "2=b", "3=b"}) || b.Rev != 4 || !b.Full {
		t.Errorf("got %v, rev %d, full %v", got, b.Rev, b.Full)
	}
	if one := Coalesce(Batch{Rev: 7}); one.Rev != 7 {
		t.Error("one batch is not itself")
	}
}

func hundredThousand() Batch {
	b := Batch{Rev: 1, Full: true}
	for i := range 100_000 {
		b.Changes = append(b.Changes, route(fmt.Sprint(i), 1, simple(i)))
	}
	return b
}

func BenchmarkNextFull100k(b *testing.B) {
	batch := hundredThousand()
	b.ReportAllocs()
	for b.Loop() {
		var s *Snapshot
		if _, bad := s.Next(batch); len(bad) > 0 {
			b.Fatal(bad[0].Err)
		}
	}
}

func BenchmarkNextFullUnchanged100k(b *testing.B) {
	batch := hundredThousand()
	var s *Snapshot
	s, _ = s.Next(batch)
	b.ReportAllocs()
	for b.Loop() {
		s, _ = s.Next(batch)
	}
}

func BenchmarkNextOneOf100k(b *testing.B) {
	var s *Snapshot
	s, _ = s.Next(hundredThousand())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s, _ = s.Next(Batch{Rev: int64(i + 2), Changes: []Change{route("500", int64(i+2), simple(i))}})
		if len(s.Changes()) != 1 {
			b.Fatal(s.Changes())
		}
	}
}
