// Package syntax compiles chunks of Lua and words their faults as LuaJIT does,
// so that the Admin API and the interpreter say the same.
//
// It runs nothing and does not know what a chunk is for.
package syntax

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// Compile compiles a chunk. name is its name as given to loadstring: the source
// itself when it has none. Errors and stack traces call it by its first line.
func Compile(src, name string) (*lua.FunctionProto, error) {
	_, p, err := both(src, name)
	return p, err
}

// Parse returns the statements of a chunk that compiles, as Compile has them.
func Parse(src, name string) ([]ast.Stmt, error) {
	chunk, _, err := both(src, name)
	return chunk, err
}

func both(src, name string) ([]ast.Stmt, *lua.FunctionProto, error) {
	at := "[string \"" + shortName(name) + "\"]"
	chunk, err := parse.Parse(strings.NewReader(src), at)
	if err != nil {
		return nil, nil, fault(err, src, at)
	}
	var b bounder
	if b.stmts(chunk); b.deep != nil {
		return nil, nil, fmt.Errorf("%s:%d: chunk has too many syntax levels", at, b.deep.Line())
	}
	p, err := lua.Compile(chunk, at)
	if err != nil {
		var ce *lua.CompileError
		if errors.As(err, &ce) {
			return nil, nil, fmt.Errorf("%s:%d: %s", at, ce.Line, ce.Message)
		}
		return nil, nil, fmt.Errorf("%s:1: %w", at, err)
	}
	return chunk, p, nil
}

// shortName is the first line of a chunk's name, cut to what fits into 60 bytes
// together with its frame.
func shortName(s string) string {
	const room = 60 - len(`[string "..."]`) - 1
	line, _, more := strings.Cut(s, "\n")
	if len(line) > room {
		line, more = line[:room], true
	}
	if more {
		line += "..."
	}
	return line
}

// openers begin a block that an end must close.
var openers = map[string]bool{"function": true, "do": true, "then": true, "repeat": true}

func fault(err error, src, at string) error {
	var e *parse.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s:1: %w", at, err)
	}
	atEnd := e.Pos.Line == parse.EOF
	line, near := e.Pos.Line, e.Token
	if atEnd {
		line, near = 1+strings.Count(src, "\n"), "<eof>"
	}
	what := "unexpected symbol"
	switch {
	case e.Message != "" && e.Message != "syntax error" && e.Message != "parse error" && !atEnd:
		what = e.Message
	case atEnd && hasOpenBlock(src):
		what = "'end' expected"
	case endsExpression(before(src, e, atEnd)):
		what = "'=' expected"
	}
	return fmt.Errorf("%s:%d: %s near '%s'", at, line, what, near)
}

// before is the text in front of the fault.
func before(src string, e *parse.Error, atEnd bool) string {
	if atEnd {
		return src
	}
	for n := 1; n < e.Pos.Line; n++ {
		i := strings.IndexByte(src, '\n')
		if i < 0 {
			return src
		}
		src = src[i+1:]
	}
	col := max(e.Pos.Column, 0)
	src = src[:min(col, len(src))]
	if i := strings.LastIndex(src, e.Token); i >= 0 && e.Token != "" {
		src = src[:i]
	}
	return src
}

// endsExpression reports whether text ends in a name that stands alone: a
// statement that lacks its assignment.
func endsExpression(text string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return !isWord(r) && r != '.' })
	trimmed := strings.TrimRight(text, " \t\r\n")
	if len(words) == 0 || !strings.HasSuffix(trimmed, words[len(words)-1]) {
		return false
	}
	last := words[len(words)-1]
	return !keywords[last] && !isDigit(last[0]) && (len(words) == 1 || !leadsExpression(trimmed, last, words[len(words)-2]))
}

// leadsExpression reports whether the name at the end of text belongs to
// something that began before it.
func leadsExpression(text, last, word string) bool {
	head := strings.TrimRight(text[:len(text)-len(last)], " \t\r\n")
	if head == "" || head[len(head)-1] == ';' || head[len(head)-1] == ')' {
		return false
	}
	return !strings.HasSuffix(head, word) || keywords[word] && !openers[word] && word != "end" && word != "else"
}

func isWord(r rune) bool {
	return r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

var keywords = map[string]bool{
	"and": true, "break": true, "do": true, "else": true, "elseif": true, "end": true, "false": true,
	"for": true, "function": true, "goto": true, "if": true, "in": true, "local": true, "nil": true,
	"not": true, "or": true, "repeat": true, "return": true, "then": true, "true": true, "until": true, "while": true,
}

// hasOpenBlock reports whether src opens more blocks than it closes. It looks
// at words only: good enough to word a message.
func hasOpenBlock(src string) bool {
	open := 0
	for _, w := range strings.FieldsFunc(src, func(r rune) bool { return !isWord(r) }) {
		switch w {
		case "function", "then", "repeat", "do":
			open++
		case "elseif", "until", "end":
			open--
		}
	}
	return open > 0
}
