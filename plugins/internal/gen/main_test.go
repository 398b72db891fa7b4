package main

import (
	"bytes"
	"os"
	"testing"
)

func TestGeneratedFilesAreClean(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what go generate ./plugins/all writes (%v)", path, err)
		}
	}
}

func TestTableIsTheSameAgain(t *testing.T) {
	p := &plugin{dir: "../../limit-count", readme: "x\n<!-- attributes schema.json -->\n<!-- end -->\ny"}
	once, err := p.withTables()
	if err != nil {
		t.Fatal(err)
	}
	p.readme = string(once)
	twice, err := p.withTables()
	if err != nil || !bytes.Equal(once, twice) || !bytes.Contains(once, []byte("| `redis_host` | string | yes with `policy` redis |")) {
		t.Errorf("%v\n%s\n%s", err, once, twice)
	}
	p.readme = "<!-- attributes schema.json -->"
	if _, err := p.withTables(); err == nil {
		t.Error("a table without end was accepted")
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		`["a", "b c"]`: `["a", "b c"]`, "[\n  \"a\",\n  \"b  c\"\n]": `["a", "b  c"]`, "{\n\t\"a\": [\n\t1\n\t]\n}": `{"a": [1]}`, `7`: `7`, ``: ``,
	} {
		if got := oneLine([]byte(text)); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
