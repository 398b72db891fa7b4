package t

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretName is how what nobody may guess is called.
var secretName = regexp.MustCompile(`(?i)(secret|passw(or)?d|signature|digest|token|apikey|hmac|mac|adminkey)$`)

// noSecrets are places that only look like it, and why.
var noSecrets = map[string]string{
	"admin/standalone.go": "the digest of a configuration, which everybody may read",
}

// TestSecretsAreComparedInConstantTime looks for secrets that are compared with
// == or !=, or looked for with bytes.Equal: how long that takes tells how much
// of a guess is right.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.generated() || noSecrets[s.path] != "" || !strings.HasPrefix(s.path, "plugins/") && !strings.HasPrefix(s.path, "admin/") && !strings.HasPrefix(s.path, "gateway/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			var a, b ast.Expr
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					a, b = n.X, n.Y
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 2 && (f.Sel.Name == "Equal" || f.Sel.Name == "EqualFold" || f.Sel.Name == "Compare") {
					if pkg, ok := f.X.(*ast.Ident); ok && (pkg.Name == "bytes" || pkg.Name == "strings" || pkg.Name == "reflect") {
						a, b = n.Args[0], n.Args[1]
					}
				}
			}
			if a == nil || fixed(a) || fixed(b) {
				return true
			}
			for _, x := range []ast.Expr{a, b} {
				if name := lastName(x); secretName.MatchString(name) {
					t.Errorf("%s: %s is compared in a time that depends on it: use crypto/subtle", s.place(n), name)
				}
			}
			return true
		})
	}
}

// fixed reports whether a comparison with x tells nothing: constants, nil, lengths.
func fixed(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return x.Name == "nil" || x.Name == "true" || x.Name == "false"
	case *ast.CallExpr:
		f, ok := x.Fun.(*ast.Ident)
		return ok && f.Name == "len"
	}
	return false
}

// lastName is the name that an expression ends in: "secret" of c.part.secret.
func lastName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.IndexExpr:
		return lastName(x.X)
	case *ast.CallExpr:
		if len(x.Args) == 1 { // a conversion
			return lastName(x.Args[0])
		}
	}
	return ""
}

// deriving are the functions that keep a context for longer than they run, or
// hand it to goroutines.
var deriving = map[string]bool{"WithCancel": true, "WithTimeout": true, "WithDeadline": true, "WithValue": true, "WithoutCancel": true,
	"WithCancelCause": true, "AfterFunc": true, "DialContext": true, "NewRequestWithContext": true, "CommandContext": true}

// TestNoContextIsDerivedFromACtx: a Ctx serves the connection's next request,
// too, so whoever goes on beside the request would meet that one. What is
// derived from its field Context does not.
func TestNoContextIsDerivedFromACtx(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || !strings.HasPrefix(s.path, "plugins/") && !strings.HasPrefix(s.path, "gateway/lua/") {
			continue
		}
		ofCtx := ctxNames(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if ok && deriving[f.Sel.Name] && ofCtx[lastName(call.Args[0])] {
				t.Errorf("%s: %s of a Ctx: give it the field Context", s.place(n), f.Sel.Name)
			}
			return true
		})
	}
}

// ctxNames are the names of parameters, fields and variables of type *plugins.Ctx.
func ctxNames(f *ast.File) map[string]bool {
	names := map[string]bool{}
	isCtx := func(x ast.Expr) bool {
		p, ok := x.(*ast.StarExpr)
		return ok && lastName(p.X) == "Ctx"
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if isCtx(n.Type) {
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
		case *ast.AssignStmt: // c, ok := ctx.(*plugins.Ctx)
			if x, ok := n.Rhs[0].(*ast.TypeAssertExpr); ok && isCtx(x.Type) {
				names[lastName(n.Lhs[0])] = true
			}
		}
		return true
	})
	return names
}

var indexed = regexp.MustCompile("`([^`]+)`")

// TestSecurityIndex: every scenario of t/security is in its index, and what the
// index names exists.
func TestSecurityIndex(t *testing.T) {
	text, err := os.ReadFile("security/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("security/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.Contains(string(text), "`"+filepath.Base(f)+"`") {
			t.Errorf("security/README.md does not have %s", filepath.Base(f))
		}
	}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, m := range indexed.FindAllStringSubmatch(cells[len(cells)-2], -1) {
			if err := exists(m[1]); err != nil {
				t.Errorf("security/README.md names %s: %v", m[1], err)
			}
		}
	}
}

// exists looks for a scenario beside the index or from the root, or for a test
// in a package: "plugins/csrf TestForeignToken".
func exists(name string) error {
	folder, test, ok := strings.Cut(name, " ")
	if !ok {
		if !strings.Contains(name, "/") {
			name = filepath.Join("t", "security", name)
		}
		_, err := os.Stat(filepath.Join(root, name))
		return err
	}
	files, _ := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(test) + `\(`).Match(text) {
			return nil
		}
	}
	return os.ErrNotExist
}
