package lib

import (
	lua "github.com/yuin/gopher-lua"
	"go.yaml.in/yaml/v3"

	"sluice/gateway/lua/value"
)

// YAML is the module lyaml: load, of a text's first document.
var YAML = map[string]lua.LGFunction{
	"load": func(l *lua.LState) int {
		var doc any
		if err := yaml.Unmarshal([]byte(l.CheckString(1)), &doc); err != nil {
			l.RaiseError("%s", err.Error())
		}
		l.Push(fromYAML(doc))
		return 1
	},
}

func fromYAML(v any) lua.LValue {
	switch v := v.(type) {
	case nil:
		return value.Null
	case bool:
		return lua.LBool(v)
	case int:
		return lua.LNumber(v)
	case int64:
		return lua.LNumber(v)
	case uint64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		t := value.Table()
		for _, item := range v {
			t.Append(fromYAML(item))
		}
		return t
	case map[string]any:
		t := value.Table()
		for k, item := range v {
			t.RawSetString(k, fromYAML(item))
		}
		return t
	case map[any]any:
		t := value.Table()
		for k, item := range v {
			t.RawSet(fromYAML(k), fromYAML(item))
		}
		return t
	}
	return lua.LNil
}
