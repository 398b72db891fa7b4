package schema

// merged makes one schema of an anyOf of a string and an integer, as which ids
// are declared: keywords of the one say nothing about the other. The library
// would make an error for each id that is a string.
func merged(o *object) *object {
	list, ok := o.m["anyOf"].([]any)
	if !ok || len(o.keys) != 1 || len(list) != 2 {
		return o
	}
	out := &object{m: map[string]any{}}
	var types []any
	for i, keywords := range []map[string]bool{
		{"type": true, "minLength": true, "maxLength": true, "pattern": true},
		{"type": true, "minimum": true, "maximum": true},
	} {
		branch, ok := list[i].(*object)
		if !ok || branch.m["type"] != [...]string{"string", "integer"}[i] {
			return o
		}
		for _, k := range branch.keys {
			if !keywords[k] {
				return o
			}
			out.set(k, branch.m[k])
		}
		types = append(types, branch.m["type"])
	}
	out.set("type", types)
	return out
}
