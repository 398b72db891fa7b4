package all

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

const dir = ".." // of the plugins

// TestUniform holds every plugin against the form that all have.
func TestUniform(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(dir, "*", "plugin.go"))
	if err != nil {
		t.Fatal(err)
	}
	registry := Registry()
	if len(folders) != len(registry) {
		t.Errorf("%d folders, %d plugins", len(folders), len(registry))
	}
	priorities := map[int]string{}
	for name, spec := range registry {
		if other := priorities[spec.Priority]; other != "" {
			t.Errorf("%s and %s share priority %d", name, other, spec.Priority)
		}
		priorities[spec.Priority] = name
		t.Run(name, func(t *testing.T) { uniform(t, name, spec) })
	}
}

func uniform(t *testing.T, name string, spec *plugins.Spec) {
	folder := filepath.Join(dir, name)
	if spec.Name != name {
		t.Errorf("the Spec says %q", spec.Name)
	}
	for _, file := range []string{"plugin.go", "schema.json", "plugin_test.go", "README.md"} {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			t.Error(err)
		}
	}
	s := parse(t, folder)
	if want := strings.ReplaceAll(name, "-", ""); s.name != want {
		t.Errorf("package %s, want %s", s.name, want)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "..", "t", "plugin", name+"*.txtar")); len(found) == 0 {
		t.Error("no scenario in t/plugin")
	}
	compare(t, properties(t, spec.Schema), s.fields(t, "config"))
	if spec.Version == "" || spec.New == nil {
		t.Error("the Spec has no Version or no New")
	}
	readme(t, folder, spec)
}

// compare wants the schema's properties to be the configuration's fields, both ways.
func compare(t *testing.T, inSchema, inConfig map[string]bool) {
	t.Helper()
	for p := range inSchema {
		if !inConfig[p] {
			t.Errorf("property %q of schema.json is no field of config", p)
		}
	}
	for f := range inConfig {
		if !inSchema[f] {
			t.Errorf("field %q of config is no property of schema.json", f)
		}
	}
}

// properties are the members that a schema knows, also those of its branches.
func properties(t *testing.T, text string) map[string]bool {
	t.Helper()
	type schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Then, Else json.RawMessage
	}
	found := map[string]bool{}
	for rest := []json.RawMessage{json.RawMessage(text)}; len(rest) > 0; rest = rest[1:] {
		if rest[0] == nil {
			continue
		}
		var s schema
		if err := json.Unmarshal(rest[0], &s); err != nil {
			t.Fatal(err)
		}
		for name := range s.Properties {
			found[name] = true
		}
		rest = append(rest, s.Then, s.Else)
	}
	return found
}

// sources are the type declarations of a package.
type sources struct {
	name    string
	structs map[string]*ast.StructType
	imports map[string]string // by name
}

func parse(t *testing.T, folder string) *sources {
	t.Helper()
	s := &sources{structs: map[string]*ast.StructType{}, imports: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.name = f.Name.Name
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			s.imports[filepath.Base(path)] = path
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.TypeSpec); ok {
				if st, ok := d.Type.(*ast.StructType); ok {
					s.structs[d.Name.Name] = st
				}
			}
			return true
		})
	}
	return s
}

// fields are the JSON names of a struct's fields, embedded ones included.
func (s *sources) fields(t *testing.T, name string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	st := s.structs[name]
	if st == nil {
		t.Errorf("package %s has no struct %s", s.name, name)
		return found
	}
	for _, f := range st.Fields.List {
		var inner map[string]bool
		switch e := f.Type.(type) {
		case *ast.Ident:
			if len(f.Names) == 0 {
				inner = s.fields(t, e.Name)
			}
		case *ast.SelectorExpr:
			if len(f.Names) == 0 {
				path := strings.TrimPrefix(s.imports[e.X.(*ast.Ident).Name], "sluice/")
				inner = parse(t, filepath.Join(dir, "..", path)).fields(t, e.Sel.Name)
			}
		}
		for n := range inner {
			found[n] = true
		}
		if f.Tag != nil {
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
			json, _, _ := strings.Cut(tag.Get("json"), ",")
			found[json] = true
		}
	}
	return found
}

// readme wants the sections, and builds every example.
func readme(t *testing.T, folder string, spec *plugins.Spec) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			sections = append(sections, strings.TrimSpace(title))
		}
	}
	if want := []string{"Description", "Attributes", "Examples", "Metrics"}; !slices.Equal(sections, want) {
		t.Errorf("README.md has the sections %q, want %q", sections, want)
	}
	examples := fences.FindAllStringSubmatch(string(text), -1)
	if len(examples) == 0 {
		t.Error("README.md has no example")
	}
	for _, m := range examples {
		built(t, spec, m[1])
	}
}

// built builds an instance and wants nothing to be left of it after Close.
func built(t *testing.T, spec *plugins.Spec, conf string) {
	t.Helper()
	before := runtime.NumGoroutine()
	env := plugintest.With(plugintest.Env(), Registry())
	p, err := plugintest.Try(spec, env, conf)
	if err != nil {
		t.Errorf("example %s: %v", conf, err)
		return
	}
	if p.Close != nil {
		p.Close()
	}
	if n := env.Shared.Len(); n != 0 {
		t.Errorf("example %s: %d shared values are left after Close", conf, n)
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("example %s: %d goroutines are left after Close", conf, runtime.NumGoroutine()-before)
		}
	}
}

// TestParts compiles the other schemas and wants what they name to be there.
func TestParts(t *testing.T) {
	for name, spec := range Registry() {
		if _, _, err := plugins.NewCatalog(plugins.Registry{name: spec}, []string{name}); err != nil {
			t.Error(err)
		}
		if spec.ConsumerKey != "" && !properties(t, spec.Consumer)[spec.ConsumerKey] {
			t.Errorf("%s: the consumer's schema has no property %q", name, spec.ConsumerKey)
		}
		if spec.Consumer != "" && !spec.Auth {
			t.Errorf("%s: only authenticating plugins have a schema of consumers", name)
		}
	}
}
