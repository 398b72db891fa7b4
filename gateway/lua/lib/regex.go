package lib

import (
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
	"sluice/router/expr"
)

// Regexes are the compiled patterns of the process. Beyond maxRegexes all are
// forgotten: who makes patterns of requests must not fill the memory.
type Regexes struct {
	mu sync.RWMutex
	m  map[string]*expr.Regex
}

const maxRegexes = 2048

func (r *Regexes) get(pattern, flags string) (*expr.Regex, error) {
	key := flags + "\x00" + pattern
	r.mu.RLock()
	re := r.m[key]
	r.mu.RUnlock()
	if re != nil {
		return re, nil
	}
	re, err := expr.CompileRegex(pattern, flags)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil || len(r.m) >= maxRegexes {
		r.m = map[string]*expr.Regex{}
	}
	r.m[strings.Clone(key)] = re
	return re, nil
}

// Functions are ngx.re. limit bounds results, in bytes.
func (r *Regexes) Functions(limit int) map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"match": r.match, "find": r.find, "gmatch": r.gmatch,
		"sub":  func(l *lua.LState) int { return r.sub(l, limit, false) },
		"gsub": func(l *lua.LState) int { return r.sub(l, limit, true) },
	}
}

// pattern reads (subject, regex, options).
func (r *Regexes) pattern(l *lua.LState, optionsAt int) (string, *expr.Regex, error) {
	re, err := r.get(l.CheckString(2), l.OptString(optionsAt, ""))
	return ArgText(l, 1), re, err
}

// from is ctx.pos, as an offset.
func from(l *lua.LState, subject string) (int, *lua.LTable) {
	t, ok := l.Get(4).(*lua.LTable)
	if !ok {
		return 0, nil
	}
	if n, ok := t.RawGetString("pos").(lua.LNumber); ok {
		return min(max(int(n)-1, 0), len(subject)), t
	}
	return 0, t
}

// captures puts the groups of a match into t: by number from 0, and by name.
func captures(l *lua.LState, t *lua.LTable, re *expr.Regex, subject string, at []int) *lua.LTable {
	if t == nil {
		t = l.NewTable()
	}
	names := re.Names()
	for i := 0; i < len(at)/2; i++ {
		v := lua.LValue(lua.LFalse)
		if at[2*i] >= 0 {
			v = lua.LString(subject[at[2*i]:at[2*i+1]])
		}
		t.RawSetInt(i, v)
		if i < len(names) && names[i] != "" {
			t.RawSetString(names[i], v)
		}
	}
	return t
}

func (r *Regexes) match(l *lua.LState) int {
	subject, re, err := r.pattern(l, 3)
	if err != nil {
		return Fail(l, err.Error())
	}
	off, ctx := from(l, subject)
	at := re.FindSubmatchIndex(subject[off:])
	if at == nil {
		l.Push(lua.LNil)
		return 1
	}
	if ctx != nil {
		ctx.RawSetString("pos", lua.LNumber(off+at[1]+1))
	}
	res, _ := l.Get(5).(*lua.LTable)
	l.Push(captures(l, res, re, subject[off:], at))
	return 1
}

func (r *Regexes) find(l *lua.LState) int {
	subject, re, err := r.pattern(l, 3)
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 3
	}
	off, ctx := from(l, subject)
	at := re.FindSubmatchIndex(subject[off:])
	n := 2 * l.OptInt(5, 0)
	if at == nil || n < 0 || n >= len(at) || at[n] < 0 {
		l.Push(lua.LNil)
		return 1
	}
	if ctx != nil {
		ctx.RawSetString("pos", lua.LNumber(off+at[1]+1))
	}
	l.Push(lua.LNumber(off + at[n] + 1))
	l.Push(lua.LNumber(off + at[n+1]))
	return 2
}

// maxMatches is how many matches one call looks at: each takes memory.
const maxMatches = 1 << 20

func matches(l *lua.LState, re *expr.Regex, subject string) [][]int {
	all := re.FindAllSubmatchIndex(subject, maxMatches)
	if len(all) == maxMatches {
		l.RaiseError("subject has %d matches or more", maxMatches)
	}
	return all
}

func (r *Regexes) gmatch(l *lua.LState) int {
	subject, re, err := r.pattern(l, 3)
	if err != nil {
		return Fail(l, err.Error())
	}
	all := matches(l, re, subject)
	l.Push(l.NewFunction(func(l *lua.LState) int {
		if len(all) == 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(captures(l, nil, re, subject, all[0]))
		all = all[1:]
		return 1
	}))
	return 1
}

func (r *Regexes) sub(l *lua.LState, limit int, all bool) int {
	subject, re, err := r.pattern(l, 4)
	if err != nil {
		return noSub(l, err)
	}
	with, err := replacement(l, re, subject, limit)
	if err != nil {
		return noSub(l, err)
	}
	var found [][]int
	if all {
		found = matches(l, re, subject)
	} else if at := re.FindSubmatchIndex(subject); at != nil {
		found = [][]int{at}
	}
	var b []byte
	end := 0
	for _, at := range found {
		b = with(append(b, subject[end:at[0]]...), at)
		end = at[1]
		if len(b) > limit {
			l.RaiseError("result is longer than %d bytes", limit)
		}
	}
	l.Push(lua.LString(append(b, subject[end:]...)))
	l.Push(lua.LNumber(len(found)))
	return 2
}

func noSub(l *lua.LState, err error) int {
	l.Push(lua.LNil)
	l.Push(lua.LNil)
	l.Push(lua.LString(err.Error()))
	return 3
}

// replacement is what appends the text that stands in for a match: the third
// argument, which is a template or a function.
func replacement(l *lua.LState, re *expr.Regex, subject string, limit int) (func(b []byte, at []int) []byte, error) {
	if f, ok := l.Get(3).(*lua.LFunction); ok {
		return func(b []byte, at []int) []byte {
			l.Push(f)
			l.Push(captures(l, nil, re, subject, at))
			l.Push(lua.LString(subject[at[0]:at[1]]))
			l.Call(2, 1)
			b = value.AppendPrinted(b, l.Get(-1))
			l.Pop(1)
			return b
		}, nil
	}
	t, err := re.Template(ArgText(l, 3))
	if err != nil {
		return nil, err
	}
	return func(b []byte, at []int) []byte { return t.Append(b, subject, at, limit) }, nil
}
