package syntax

import "github.com/yuin/gopher-lua/ast"

// concat is the global function that programs call in place of the operator
// "..": the interpreter's own would let a text double with each instruction.
const concat = ".."

// widest is how many operands one call of it gets.
const widest = 50

// deepest is how deep statements and expressions may lie in each other. The
// compiler recurses, and takes ever longer for each level.
const deepest = 10_000

// bounder rewrites a chunk so that texts grow only through concat. An operand
// that is a constant adds the same few bytes each time, which time bounds.
type bounder struct {
	depth int
	deep  ast.PositionHolder // what lies too deep; nil: nothing
}

func (b *bounder) stmts(list []ast.Stmt) {
	for _, s := range list {
		if b.enter(s) {
			b.stmt(s)
		}
		b.depth--
	}
}

// enter goes one level down, and reports whether there is room.
func (b *bounder) enter(at ast.PositionHolder) bool {
	if b.depth++; b.depth > deepest && b.deep == nil {
		b.deep = at
	}
	return b.depth <= deepest
}

func (b *bounder) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		b.exprs(s.Lhs)
		b.exprs(s.Rhs)
	case *ast.LocalAssignStmt:
		b.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = b.expr(s.Expr)
	case *ast.DoBlockStmt:
		b.stmts(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = b.expr(s.Condition)
		b.stmts(s.Stmts)
	case *ast.RepeatStmt:
		s.Condition = b.expr(s.Condition)
		b.stmts(s.Stmts)
	case *ast.IfStmt:
		s.Condition = b.expr(s.Condition)
		b.stmts(s.Then)
		b.stmts(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit, s.Step = b.expr(s.Init), b.expr(s.Limit), b.expr(s.Step)
		b.stmts(s.Stmts)
	case *ast.GenericForStmt:
		b.exprs(s.Exprs)
		b.stmts(s.Stmts)
	case *ast.FuncDefStmt:
		s.Name.Func, s.Name.Receiver = b.expr(s.Name.Func), b.expr(s.Name.Receiver)
		b.stmts(s.Func.Stmts)
	case *ast.ReturnStmt:
		b.exprs(s.Exprs)
	}
}

func (b *bounder) exprs(list []ast.Expr) {
	for i := range list {
		list[i] = b.expr(list[i])
	}
}

// expr is e with what is in it rewritten; nil stays nil.
func (b *bounder) expr(e ast.Expr) ast.Expr {
	if e == nil {
		return nil
	}
	defer func() { b.depth-- }()
	if !b.enter(e) {
		return e
	}
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = b.expr(e.Object), b.expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			f.Key, f.Value = b.expr(f.Key), b.expr(f.Value)
		}
	case *ast.FuncCallExpr:
		e.Func, e.Receiver = b.expr(e.Func), b.expr(e.Receiver)
		b.exprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = b.expr(e.Lhs), b.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = b.expr(e.Lhs), b.expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = b.expr(e.Lhs), b.expr(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = b.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = b.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = b.expr(e.Expr)
	case *ast.FunctionExpr:
		b.stmts(e.Stmts)
	case *ast.StringConcatOpExpr:
		return b.concatenation(e)
	}
	return e
}

func (b *bounder) concatenation(e *ast.StringConcatOpExpr) ast.Expr {
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
		parts = append(parts, b.expr(part))
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
