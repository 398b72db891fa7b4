package schema

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// luaType is the name that messages give to v's type.
func luaType(v any) string {
	switch v.(type) {
	case nil:
		return "userdata" // JSON null, as cjson hands it over
	case string:
		return "string"
	case bool:
		return "boolean"
	case map[string]any, []any:
		return "table"
	}
	return "number"
}

// luaNumber writes f as Lua's tostring does.
func luaNumber(f float64) string { return strconv.FormatFloat(f, 'g', 14, 64) }

// luaQuote writes s as string.format's %q does.
func luaQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\' || c == '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 32 || c == 127:
			d := strconv.Itoa(int(c))
			if i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
				d = strings.Repeat("0", 3-len(d)) + d
			}
			b.WriteByte('\\')
			b.WriteString(d)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// number reads a document's number.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		if len(v) < 16 {
			if n, err := strconv.Atoi(string(v)); err == nil {
				return float64(n), true
			}
		}
		f, err := strconv.ParseFloat(string(v), 64)
		return f, err == nil || math.IsInf(f, 0)
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return 0, false
}

// isRef reports whether s refers to a secret or an environment variable.
func isRef(s string) bool {
	if len(s) < 7 || s[0] != '$' {
		return false
	}
	return strings.HasPrefix(s, "$secret://") || strings.EqualFold(s[:7], "$env://")
}
