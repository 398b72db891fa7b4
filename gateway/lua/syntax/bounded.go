package syntax

import "github.com/yuin/gopher-lua/ast"

// concat is the global function that programs call in place of the operator
// "..": the interpreter's own would let a text double with each instruction.
const concat = ".."

// widest is how many operands one call of it gets.
const widest = 50

// bound rewrites a chunk so that texts grow only through concat. An operand
// that is a constant adds the same few bytes each time, which time bounds.
func bound(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			exprs(s.Lhs)
			exprs(s.Rhs)
		case *ast.LocalAssignStmt:
			exprs(s.Exprs)
		case *ast.FuncCallStmt:
			s.Expr = expr(s.Expr)
		case *ast.DoBlockStmt:
			bound(s.Stmts)
		case *ast.WhileStmt:
			s.Condition = expr(s.Condition)
			bound(s.Stmts)
		case *ast.RepeatStmt:
			s.Condition = expr(s.Condition)
			bound(s.Stmts)
		case *ast.IfStmt:
			s.Condition = expr(s.Condition)
			bound(s.Then)
			bound(s.Else)
		case *ast.NumberForStmt:
			s.Init, s.Limit, s.Step = expr(s.Init), expr(s.Limit), expr(s.Step)
			bound(s.Stmts)
		case *ast.GenericForStmt:
			exprs(s.Exprs)
			bound(s.Stmts)
		case *ast.FuncDefStmt:
			bound(s.Func.Stmts)
		case *ast.ReturnStmt:
			exprs(s.Exprs)
		}
	}
}

func exprs(list []ast.Expr) {
	for i := range list {
		list[i] = expr(list[i])
	}
}

// expr is e with what is in it rewritten; nil stays nil.
func expr(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = expr(e.Object), expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			f.Key, f.Value = expr(f.Key), expr(f.Value)
		}
	case *ast.FuncCallExpr:
		e.Func, e.Receiver = expr(e.Func), expr(e.Receiver)
		exprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = expr(e.Lhs), expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = expr(e.Lhs), expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = expr(e.Lhs), expr(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = expr(e.Expr)
	case *ast.FunctionExpr:
		bound(e.Stmts)
	case *ast.StringConcatOpExpr:
		return concatenation(e)
	}
	return e
}

func concatenation(e *ast.StringConcatOpExpr) ast.Expr {
	var parts []ast.Expr
	variable := 0
	for rest := ast.Expr(e); rest != nil; {
		part := rest
		if more, ok := rest.(*ast.StringConcatOpExpr); ok {
			part, rest = more.Lhs, more.Rhs
		} else {
			rest = nil
		}
		if _, constant := part.(ast.ConstExpr); !constant {
			variable++
		}
		parts = append(parts, expr(part))
	}
	if variable < 2 {
		return together(e, parts)
	}
	return called(e, parts)
}

// together is the operator again.
func together(e *ast.StringConcatOpExpr, parts []ast.Expr) ast.Expr {
	out := parts[len(parts)-1]
	for i := len(parts) - 2; i >= 0; i-- {
		op := &ast.StringConcatOpExpr{Lhs: parts[i], Rhs: out}
		place(op, e)
		out = op
	}
	return out
}

// called is a call of concat, or of several when there are many operands.
func called(e *ast.StringConcatOpExpr, parts []ast.Expr) ast.Expr {
	if len(parts) > widest {
		parts = append(parts[:widest-1:widest-1], called(e, parts[widest-1:]))
	}
	f := &ast.IdentExpr{Value: concat}
	call := &ast.FuncCallExpr{Func: f, Args: parts, AdjustRet: true}
	place(f, e)
	place(call, e)
	if last, ok := parts[len(parts)-1].(*ast.FuncCallExpr); ok {
		last.AdjustRet = true // one value, as an operand has
	}
	if last, ok := parts[len(parts)-1].(*ast.Comma3Expr); ok {
		last.AdjustRet = true
	}
	return call
}

func place(to, from ast.PositionHolder) {
	to.SetLine(from.Line())
	to.SetLastLine(from.LastLine())
}
