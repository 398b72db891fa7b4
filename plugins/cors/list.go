package cors

import "strings"

// newList makes the rule of an allow_origins text: "*", "**", one origin, or
// several separated by commas.
func newList(text string) rule {
	switch {
	case text == anyValue:
		return func(string) string { return anyValue }
	case text == forced:
		return func(origin string) string {
			if origin == "" {
				return anyValue
			}
			return origin
		}
	case !strings.Contains(text, ","):
		return func(origin string) string {
			if origin != text {
				return ""
			}
			return text
		}
	}
	set := map[string]bool{}
	for o := range strings.SplitSeq(text, ",") {
		set[o] = o != ""
	}
	return func(origin string) string {
		if !set[origin] {
			return ""
		}
		return origin
	}
}
