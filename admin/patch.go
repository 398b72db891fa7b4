package admin

import (
	"fmt"
	"strings"
)

// merge lays change over value: objects merge member by member, null deletes,
// everything else replaces. An empty object counts as a list, as in APISIX.
func merge(value, change object) {
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
			merge(old, v)
		default:
			value[name] = v
		}
	}
}

// replaceAt puts conf at a path of value, making the objects on the way.
func replaceAt(value object, path string, conf any) (object, error) {
	names := strings.Split(path, "/")
	in := value
	for i, name := range names[:len(names)-1] {
		next, has := in[name]
		if !has {
			next = object{}
			in[name] = next
		}
		o, ok := asObject(next)
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
	whole, ok := asObject(conf)
	if !ok {
		return nil, fmt.Errorf("invalid configuration: wrong type: expected object, got %s", luaType(conf))
	}
	return whole, nil
}
