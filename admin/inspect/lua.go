package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// luaTime bounds what a script may do while it is only looked at.
const luaTime = 200 * time.Millisecond

// compileLua compiles a chunk and words its fault as LuaJIT does.
func compileLua(src, name string) error {
	chunk, err := parse.Parse(strings.NewReader(src), name)
	if err == nil {
		_, err = lua.Compile(chunk, name)
	}
	if err == nil {
		return nil
	}
	at := fmt.Sprintf("[string %q]", firstLine(name))
	if e, ok := err.(*parse.Error); ok {
		if e.Token == "" || e.Pos.Line == parse.EOF {
			return fmt.Errorf("%s:%d: 'end' expected near '<eof>'", at, 1+strings.Count(src, "\n"))
		}
		return fmt.Errorf("%s:%d: %s near '%s'", at, e.Pos.Line, e.Message, e.Token)
	}
	return fmt.Errorf("%s:1: %w", at, err)
}

// firstLine names a chunk by its source, as Lua does.
func firstLine(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if more {
		line += "..."
	}
	return line
}

func checkFilterFunc(v any) *answer {
	src, ok := v.(string)
	if !ok {
		return nil
	}
	src = "return " + src
	if err := compileLua(src, src); err != nil {
		return refusal("failed to load 'filter_func' string: %s", err)
	}
	if got, ran := runLua(src); ran && got != lua.LTFunction {
		return refusal("'filter_func' should be a function")
	}
	return nil
}

func checkScript(v any) *answer {
	src, ok := v.(string)
	if !ok || isSecretRef(src) {
		return nil
	}
	if err := compileLua(src, src); err != nil {
		return refusal("failed to load 'script' string: %s", err)
	}
	if got, ran := runLua(src); ran && got != lua.LTTable {
		return refusal("'script' should be a Lua object")
	}
	return nil
}

// runLua runs a chunk in an empty state and returns what kind of value it
// gives. ran is false when it needs more than an empty state has: then nothing
// is known.
func runLua(src string) (t lua.LValueType, ran bool) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true, CallStackSize: 64, RegistrySize: 1 << 10, RegistryMaxSize: 1 << 14})
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), luaTime)
	defer cancel()
	l.SetContext(ctx)
	f, err := l.LoadString(src)
	if err != nil {
		return lua.LTNil, false
	}
	l.Push(f)
	if err := l.PCall(0, 1, nil); err != nil {
		return lua.LTNil, false
	}
	return l.Get(-1).Type(), true
}
