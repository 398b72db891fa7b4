package schema

import "regexp"

// portable is the schema as the library can read it: patterns that its engine
// does not know, and which are judged here anyway, are left out; draft 4's
// boolean exclusive bounds become draft 7's.
func portable(doc any) any {
	switch v := doc.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = portable(e)
		}
		return out
	case *object:
		out := &object{m: map[string]any{}}
		for _, k := range v.keys {
			if !portableMember(v, k) {
				continue
			}
			name := k
			if _, err := regexp.Compile(k); err != nil {
				name = regexp.QuoteMeta(k) // a name of patternProperties
			}
			out.set(name, portable(v.m[k]))
		}
		return out
	}
	return doc
}

func portableMember(o *object, key string) bool {
	switch v := o.m[key].(type) {
	case string:
		if key == "pattern" {
			_, err := regexp.Compile(v)
			return err == nil
		}
	case bool:
		return key != "exclusiveMinimum" && key != "exclusiveMaximum"
	}
	return true
}
