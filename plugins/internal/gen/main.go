// Command gen writes what follows from the plugins' folders: the list in
// plugins/all, the attribute tables of their READMEs, and the index
// plugins/README.md. Run by go generate in plugins/all.
//
// It reads source files only: it knows no plugin and does not run them.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	root := "." // of the plugins
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for path, text := range files {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
			continue
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the text of every generated file by its path.
func generate(root string) (map[string][]byte, error) {
	folders, err := filepath.Glob(filepath.Join(root, "*", "plugin.go"))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	var list []*plugin
	for _, f := range folders {
		p, err := read(filepath.Dir(f))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
		if files[filepath.Join(p.dir, "README.md")], err = p.withTables(); err != nil {
			return nil, err
		}
	}
	enabled, err := enabledByDefault(filepath.Join(root, "..", "conf", "config-default.yaml"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b *plugin) int { return b.priority - a.priority })
	old, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return nil, err
	}
	files[filepath.Join(root, "README.md")] = index(list, enabled, old)
	files[filepath.Join(root, "all", "all.go")], err = all(list)
	return files, err
}
