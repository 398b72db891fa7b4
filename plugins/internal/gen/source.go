package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// plugin is what the sources of one say.
type plugin struct {
	dir, folder, pkg string
	name, doc        string
	priority         int
	fields           map[string]bool // of the Spec that are true
	phases           map[string]bool
	readme           string
}

// phases in the order of the walk.
var phases = []string{"Rewrite", "Access", "BeforeProxy", "Received", "HeaderFilter", "DelayedHeader", "BodyFilter", "DelayedBody", "Log", "Preread"}

func read(dir string) (*plugin, error) {
	p := &plugin{dir: dir, folder: filepath.Base(dir), fields: map[string]bool{}, phases: map[string]bool{}}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		return nil, err
	}
	p.readme = string(readme)
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	consts := map[string]string{}
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		p.pkg = f.Name.Name
		if f.Doc != nil {
			p.doc = f.Doc.Text()
		}
		ast.Inspect(f, func(n ast.Node) bool { p.visit(n, consts); return true })
	}
	if text, ok := consts[p.name]; ok {
		p.name = text
	}
	if p.name == "" {
		return nil, fmt.Errorf("%s: no Spec with a name", dir)
	}
	return p, nil
}

func (p *plugin) visit(n ast.Node, consts map[string]string) {
	switch n := n.(type) {
	case *ast.ValueSpec:
		if len(n.Names) == 1 && len(n.Values) == 1 {
			if text, err := strconv.Unquote(source(n.Values[0])); err == nil {
				consts[n.Names[0].Name] = text
			}
		}
	case *ast.CompositeLit:
		switch source(n.Type) {
		case "plugins.Spec":
			p.spec(n)
		case "plugins.Phases":
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					p.phase(source(kv.Key))
				}
			}
		}
	case *ast.AssignStmt:
		for _, to := range n.Lhs {
			if s, ok := to.(*ast.SelectorExpr); ok {
				p.phase(s.Sel.Name)
			}
		}
	}
}

func (p *plugin) phase(name string) {
	if slices.Contains(phases, name) {
		p.phases[name] = true
	}
}

func (p *plugin) spec(n *ast.CompositeLit) {
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch key, value := source(kv.Key), source(kv.Value); key {
		case "Name":
			if text, err := strconv.Unquote(value); err == nil {
				value = text
			}
			p.name = value // or the name of a constant
		case "Priority":
			p.priority, _ = strconv.Atoi(value)
		default:
			p.fields[key] = value == "true"
		}
	}
}

// source is an expression as written, as far as it matters here.
func source(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.BasicLit:
		return e.Value
	case *ast.SelectorExpr:
		return source(e.X) + "." + e.Sel.Name
	case *ast.UnaryExpr:
		return e.Op.String() + source(e.X)
	}
	return ""
}

// enabledByDefault reads the list "plugins" of the default configuration.
func enabledByDefault(path string) (map[string]bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	in := false
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		switch line = strings.TrimRight(line, " \n"); {
		case strings.HasPrefix(line, "plugins:"):
			in = true
		case in && strings.HasPrefix(line, "  - "):
			names[strings.TrimSpace(line[4:])] = true
		case line != "" && line[0] != ' ':
			in = false
		}
	}
	return names, nil
}
