package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"A","Output":"detail of A\n"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"B","Output":"detail of B\n"}
{"Action":"pass","Package":"p","Test":"B"}
{"Action":"skip","Package":"p","Test":"C"}
{"Action":"fail","Package":"p"}
{"Action":"build-output","ImportPath":"q","Output":"q.go:1: wrong\n"}
{"Action":"build-fail","ImportPath":"q"}
not json
{"Action":"pass","Package":"r","Elapsed":1}
`
	var out bytes.Buffer
	c := tally(strings.NewReader(events), &out)
	if c != (counts{passed: 1, failed: 2, skipped: 1}) {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{"detail of A", "q.go:1: wrong", "not json", "ok    r 1.0s", "skip  p C"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "detail of B") {
		t.Error("output of a passed test is shown")
	}
}
