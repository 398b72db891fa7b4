// Package inspect checks and changes single JSON values as decoded by
// configcenter/schema: certificates, Lua sources, .proto files, keys, paths.
// Faults are worded as APISIX words them, since users compare.
//
// It does not know HTTP, the store, or which kind of object a value is part of.
package inspect

import (
	"fmt"
	"strings"
)

type object = map[string]any

// Merge lays change over value: objects merge member by member, null deletes,
// everything else replaces. An empty object counts as a list, as in APISIX.
func Merge(value, change object) {
	for name, v := range change {
		switch v := v.(type) {
		case nil:
			delete(value, name)
		case object:
			old, ok := value[name].(object)
			if !ok || len(old) == 0 || len(v) == 0 {
				value[name] = v
				continue
			}
			Merge(old, v)
		default:
			value[name] = v
		}
	}
}

// Replace puts conf at a path of value, making the objects on the way.
func Replace(value object, path string, conf any) (object, error) {
	names := strings.Split(path, "/")
	in := value
	for i, name := range names[:len(names)-1] {
		next, has := in[name]
		if !has {
			next = object{}
			in[name] = next
		}
		o, ok := Object(next)
		if !ok {
			return nil, fmt.Errorf("invalid sub-path: /%s", strings.Join(names[:i+1], "/"))
		}
		in[name] = o
		in = o
	}
	if last := names[len(names)-1]; last != "" {
		in[last] = conf
		return value, nil
	}
	whole, ok := Object(conf)
	if !ok {
		return nil, fmt.Errorf("invalid configuration: wrong type: expected object, got %s", LuaType(conf))
	}
	return whole, nil
}

// Object takes an empty list for an empty object, as APISIX does.
func Object(v any) (object, bool) {
	if list, ok := v.([]any); ok && len(list) == 0 {
		return object{}, true
	}
	o, ok := v.(object)
	return o, ok
}

// LuaType is what Lua calls the type of a decoded value.
func LuaType(v any) string {
	switch v.(type) {
	case nil:
		return "userdata"
	case string:
		return "string"
	case bool:
		return "boolean"
	case object, []any:
		return "table"
	}
	return "number"
}
