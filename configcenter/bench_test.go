package configcenter

import (
	"testing"

	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// BenchmarkJudge is a simple route as etcd has it: judged, with its defaults.
func BenchmarkJudge(b *testing.B) {
	s := SchemaOf(resource.Routes, "")
	raw := []byte(`{"id":"r1","uri":"/api/v1/things/7","host":"h1.example.com","upstream_id":"1","create_time":1700000000,"update_time":1700000000}`)
	b.ReportAllocs()
	for b.Loop() {
		doc, err := schema.Decode(raw)
		if err != nil {
			b.Fatal(err)
		}
		if doc, err = s.Apply(doc); err != nil {
			b.Fatal(err)
		}
		schema.Recycle(doc)
	}
}
