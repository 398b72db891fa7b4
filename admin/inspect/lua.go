package inspect

import (
	"errors"
	"fmt"

	"github.com/yuin/gopher-lua/ast"

	"sluice/gateway/lua/syntax"
)

// CompileLua refuses a chunk that does not compile.
func CompileLua(src, name string) error {
	_, err := syntax.Parse(src, name)
	return err
}

// CheckFilterFunc checks the source of a route's filter_func.
func CheckFilterFunc(src string) error {
	src = "return " + src
	chunk, err := syntax.Parse(src, src)
	if err != nil {
		return fmt.Errorf("failed to load 'filter_func' string: %w", err)
	}
	if _, ok := returned(chunk).(*ast.FunctionExpr); !ok {
		return errors.New("'filter_func' should be a function")
	}
	return nil
}

var errNoObject = errors.New("'script' should be a Lua object")

// CheckScript refuses what does not compile, and what certainly does not give
// a table; it does not run anything.
func CheckScript(src string) error {
	chunk, err := syntax.Parse(src, src)
	if err != nil {
		return fmt.Errorf("failed to load 'script' string: %w", err)
	}
	switch e := returned(chunk).(type) {
	case nil, *ast.FunctionExpr, *ast.StringExpr, *ast.NumberExpr, *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr:
		return errNoObject
	case *ast.IdentExpr:
		if isScalar(chunk, e.Value) {
			return errNoObject
		}
	}
	return nil
}

// returned is the first value that a chunk returns at its end; nil if none.
func returned(chunk []ast.Stmt) ast.Expr {
	if len(chunk) == 0 {
		return nil
	}
	r, ok := chunk[len(chunk)-1].(*ast.ReturnStmt)
	if !ok || len(r.Exprs) == 0 {
		return nil
	}
	return r.Exprs[0]
}

// isScalar says whether the only thing that a chunk does with a local is to
// give it a plain value.
func isScalar(chunk []ast.Stmt, name string) bool {
	if len(chunk) != 2 {
		return false
	}
	l, ok := chunk[0].(*ast.LocalAssignStmt)
	if !ok || len(l.Names) != 1 || l.Names[0] != name || len(l.Exprs) != 1 {
		return false
	}
	switch l.Exprs[0].(type) {
	case *ast.StringExpr, *ast.NumberExpr, *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr:
		return true
	}
	return false
}
