package main

import (
	"encoding/json"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"plugins", "t/plugin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(root, []string{"my-plugin", "-7"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plugins/my-plugin/plugin.go", "plugins/my-plugin/plugin_test.go",
		"plugins/my-plugin/schema.json", "plugins/my-plugin/README.md", "t/plugin/my-plugin.txtar"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.Contains(string(text), "[[") {
			t.Errorf("%s is not filled in", name)
		}
		switch filepath.Ext(name) {
		case ".go":
			if clean, err := format.Source(text); err != nil || string(clean) != string(text) {
				t.Errorf("%s is not as gofmt writes it: %v", name, err)
			}
		case ".json":
			if !json.Valid(text) {
				t.Errorf("%s is not JSON", name)
			}
		}
	}
	if err := run(root, []string{"my-plugin", "1"}); err == nil {
		t.Error("an existing folder was written over")
	}
	for _, bad := range [][]string{{}, {"x"}, {"X", "1"}, {"a_b", "1"}, {"../x", "1"}, {"x", "high"}} {
		if err := run(root, bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
