package value

import lua "github.com/yuin/gopher-lua"

// Copies makes copies of values that no interpreter refers to. What is one table
// twice is so in the copies, too.
type Copies struct {
	L     *lua.LState // makes the tables, but does not keep them
	Array *lua.LTable // another metatable that marks arrays; may be nil

	of map[*lua.LTable]*lua.LTable
}

// maxCopied is how deep tables may lie in each other to be copied: deeper ones
// would cost stack.
const maxCopied = 100

// Table copies data; functions, userdata and threads are left out, because they
// belong to the interpreter that made them.
func (cs *Copies) Table(t *lua.LTable) *lua.LTable { return cs.table(t, 0) }

// Value is Table for any value; what is no data becomes nil.
func (cs *Copies) Value(v lua.LValue) lua.LValue { return cs.value(v, 0) }

func (cs *Copies) table(t *lua.LTable, depth int) *lua.LTable {
	if c := cs.of[t]; c != nil {
		return c
	}
	c := cs.L.CreateTable(0, 4)
	if t.Metatable == lua.LValue(ArrayMark) || t.Metatable == lua.LValue(cs.Array) {
		c.Metatable = ArrayMark
	}
	if cs.of == nil {
		cs.of = map[*lua.LTable]*lua.LTable{}
	}
	cs.of[t] = c
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		if k := cs.value(k, depth); k != lua.LNil {
			c.RawSet(k, cs.value(v, depth))
		}
	}
	return c
}

func (cs *Copies) value(v lua.LValue, depth int) lua.LValue {
	switch v := v.(type) {
	case lua.LString, lua.LNumber, lua.LBool:
		return v
	case *lua.LUserData:
		if v == Null {
			return v
		}
	case *lua.LTable:
		if depth < maxCopied {
			return cs.table(v, depth+1)
		}
	}
	return lua.LNil
}

// WithoutNull is v with nil in place of Null, also in the tables in it: it changes
// them.
func WithoutNull(v lua.LValue) lua.LValue {
	if v == lua.LValue(Null) {
		return lua.LNil
	}
	if t, ok := v.(*lua.LTable); ok {
		for k, item := t.Next(lua.LNil); k != lua.LNil; k, item = t.Next(k) {
			t.RawSet(k, WithoutNull(item))
		}
	}
	return v
}

// Fill puts into t what it lacks of full.
func Fill(t, full *lua.LTable) {
	for k, v := full.Next(lua.LNil); k != lua.LNil; k, v = full.Next(k) {
		old := t.RawGet(k)
		if old == lua.LNil {
			t.RawSet(k, v)
			continue
		}
		inner, ok1 := old.(*lua.LTable)
		more, ok2 := v.(*lua.LTable)
		if ok1 && ok2 {
			Fill(inner, more)
		}
	}
}
