// Package t holds the rules of the house as tests, and the scenarios: text
// files that are run against the real binary. It imports nothing of the
// gateway: what it checks is what a user or a reader sees.
package t

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root of the repository as seen from this package.
const root = ".."

// layers: a package may import packages of lower layers only. The first
// pattern that fits counts; "*" stands for one path element, "**" for the rest.
var layers = []struct {
	pattern string
	layer   int
}{
	{"gateway/lane", -1}, {"gateway/loop", -1},
	{"conf", 0}, {"configcenter/resource", 0}, {"configcenter/resource/**", 0}, {"configcenter/schema", 0},
	{"gateway/wire", 0}, {"gateway/tally", 0}, {"gateway/redact", 0}, {"gateway/jsonpath", 0}, {"router/expr", 0},
	{"router", 1}, {"balancer", 1}, {"balancer/probe", 2}, {"configcenter", 1}, {"plugins", 1},
	{"gateway/lua/value", 0}, {"gateway/lua/*", 1}, {"plugins/internal/redisx", 2}, {"plugins/internal/*", 3},
	{"gateway/*", 2}, {"admin", 3}, {"admin/*", 2},
	{"configcenter/relay/*", 2},
	{"configcenter/adapter/mvcc", 0}, {"configcenter/adapter/auth", 0}, {"configcenter/adapter/index", 1}, {"configcenter/adapter/sqllog", 2},
	{"configcenter/adapter/backend", 4}, {"configcenter/adapter/backendtest", 5}, {"configcenter/adapter/*", 3},
	{"configcenter/*", 3},
	{"balancer/discovery/*", 3}, {"plugins/all", 5}, {"plugins/*", 4},
	{"gateway", 4},
	{"cmd/*", 6}, {"t", 7}, {"t/*", 7},
}

// budgets of the code that is not tests and not generated, in lines. Lines that
// are blank or comments do not count in files and packages: nobody shall save
// on explanations.
const (
	functionLines = 60
	fileLines     = 400
	packageLines  = 3000
	pluginLines   = 250 // of a plugin.go
)

// exceptions from the budgets: what, and why. The list may only shrink: one
// that is no longer needed fails the test.
var exceptions = map[string]string{
	"gateway/wire":       "one protocol, both sides of it: server, upstream side and bodies share the connection's unexported state, and no package between them would have a contract of its own",
	"admin":              "the Admin API and the control API share envelope, errors and kinds",
	"configcenter/relay": "one broadcast: the source, its feeds, their rings and the watchers hand over to each other by revision under shared locks; what could leave (keys, names) has left",
}

type pkg struct {
	ImportPath, Dir, Name, Doc    string
	GoFiles, TestGoFiles, Imports []string
	XTestGoFiles, TestImports     []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var ps []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "sluice/")
		ps = append(ps, p)
	}
	return ps
}

func fits(pattern, path string) bool {
	if head, ok := strings.CutSuffix(pattern, "/**"); ok {
		return strings.HasPrefix(path, head+"/")
	}
	ok, _ := filepath.Match(pattern, path)
	return ok
}

func layer(path string) (int, bool) {
	if i := place(path); i >= 0 {
		return layers[i].layer, true
	}
	return 0, false
}

// place is where in layers a package has its own from, or -1.
func place(path string) int {
	for i, l := range layers {
		if fits(l.pattern, path) {
			return i
		}
	}
	return -1
}

func TestHouseLayers(t *testing.T) {
	used := make([]bool, len(layers))
	defer func() {
		for i, l := range layers {
			if !used[i] {
				t.Errorf("no package has its layer from %q", l.pattern)
			}
		}
	}()
	for _, p := range packages(t) {
		if i := place(p.ImportPath); i >= 0 {
			used[i] = true
		}
		mine, ok := layer(p.ImportPath)
		if !ok {
			t.Errorf("%s has no layer: give it one in house_test.go", p.ImportPath)
		}
		for _, imp := range p.Imports {
			imp, ours := strings.CutPrefix(imp, "sluice/")
			if !ours {
				continue
			}
			if theirs, _ := layer(imp); theirs >= mine {
				t.Errorf("%s (layer %d) imports %s (layer %d): only lower ones may be imported", p.ImportPath, mine, imp, theirs)
			}
			if imp == "plugins/all" && !strings.HasPrefix(p.ImportPath, "cmd/") {
				t.Errorf("%s imports plugins/all: only the command may", p.ImportPath)
			}
		}
	}
}

// forbiddenNames say nothing about what a package is for.
var forbiddenNames = regexp.MustCompile(`(^|/)(utils?|commons?|helpers?|managers?|misc|base)(/|$)`)

func TestHousePackages(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(strings.Fields(p.Doc)) < 5 {
			t.Errorf("%s: no package comment that says what it does and what it does not know", p.ImportPath)
		}
		if forbiddenNames.MatchString(p.ImportPath) {
			t.Errorf("%s: the name says nothing about what it is for", p.ImportPath)
		}
	}
}

// source is one Go file, parsed.
type source struct {
	path  string // from the root
	lines int    // of code
	file  *ast.File
	set   *token.FileSet
}

func (s *source) test() bool      { return strings.HasSuffix(s.path, "_test.go") }
func (s *source) generated() bool { return ast.IsGenerated(s.file) }
func (s *source) imports(path string) bool {
	return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(path) })
}
func (s *source) place(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(n.Pos()).Line)
}

// codeLines counts the lines that have a token on them.
func codeLines(text []byte) int {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(text))
	s.Init(file, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		first := file.Line(pos)
		for i := range strings.Count(lit, "\n") + 1 { // raw strings have several
			if tok != token.SEMICOLON {
				lines[first+i] = true
			}
		}
	}
}

func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		s := &source{path: rel, lines: codeLines(text), set: token.NewFileSet()}
		s.file, err = parser.ParseFile(s.set, rel, text, parser.ParseComments)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestHouseBudgets(t *testing.T) {
	used := map[string]bool{}
	over := func(what string, lines, limit int) {
		if lines <= limit {
			return
		}
		used[what] = true
		if exceptions[what] == "" {
			t.Errorf("%s has %d lines, %d are allowed: split it, or say in house_test.go why that would hide a straight line", what, lines, limit)
		}
	}
	perPackage := map[string]int{}
	for _, s := range sources(t) {
		if s.test() || s.generated() {
			continue
		}
		perPackage[filepath.Dir(s.path)] += s.lines
		over(s.path, s.lines, fileLines)
		if ok, _ := filepath.Match("plugins/*/plugin.go", s.path); ok {
			over(s.path, s.lines, pluginLines)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				from, to := s.set.Position(f.Pos()).Line, s.set.Position(f.End()).Line
				over(s.path+":"+f.Name.Name, to-from+1, functionLines)
			}
		}
	}
	for dir, lines := range perPackage {
		over(dir, lines, packageLines)
	}
	for what, why := range exceptions {
		if !used[what] {
			t.Errorf("exception %q (%s) is no longer needed: remove it", what, why)
		}
	}
}

// globalLog are the functions of log/slog that use the process's logger.
var globalLog = map[string]bool{"Debug": true, "Info": true, "Warn": true, "Error": true, "Log": true, "LogAttrs": true,
	"DebugContext": true, "InfoContext": true, "WarnContext": true, "ErrorContext": true, "Default": true, "SetDefault": true, "With": true}

func TestHouseForbidden(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated() {
			continue
		}
		for _, c := range s.file.Comments {
			if regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`).MatchString(c.Text()) && s.path != "t/house_test.go" {
				t.Errorf("%s: unfinished work in a comment", s.place(c))
			}
		}
		command := strings.HasPrefix(s.path, "cmd/") || strings.HasPrefix(s.path, "t/")
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil && !s.test() {
					t.Errorf("%s: init() runs behind the reader's back", s.place(n))
				}
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok || x.Obj != nil {
					return true
				}
				if x.Name == "time" && n.Sel.Name == "Sleep" && !(s.test() && s.imports("testing/synctest")) {
					t.Errorf("%s: time.Sleep: wait for what must happen instead", s.place(n))
				}
				if x.Name == "slog" && globalLog[n.Sel.Name] && !command && !s.test() {
					t.Errorf("%s: slog.%s uses the global logger: loggers are handed down", s.place(n), n.Sel.Name)
				}
			}
			return true
		})
	}
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)#: ]+)(#[^)]*)?\)`)
	namedFile    = regexp.MustCompile("`((?:[a-z][a-z0-9_-]*/)+[a-z0-9_.-]*|[a-z0-9_-]+\\.(?:go|yaml|md|txtar|json))`")
)

// TestHouseReadmeLinks: what the README points at exists.
func TestHouseReadmeLinks(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range markdownLink.FindAllSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(root, string(m[1]))); err != nil {
			t.Errorf("README.md links to %s: %v", m[1], err)
		}
	}
	for _, m := range namedFile.FindAllSubmatch(text, -1) {
		name := string(m[1])
		if strings.HasPrefix(name, "plugins/NAME") || strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "data/") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, name)); err != nil && strings.Contains(name, "/") {
			t.Errorf("README.md names %s: %v", name, err)
		}
	}
}
