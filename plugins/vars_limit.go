package plugins

import (
	"encoding/json"
	"strconv"
)

// rateLimitingInfo is limit-count's JSON; it is made only for those who ask.
func rateLimitingInfo(c *Ctx, b []byte) ([]byte, bool) {
	r := &c.RateLimit
	if r.Key == nil {
		return b, true
	}
	b = append(b, `{"rate_limiting_key":`...)
	b = appendQuoted(b, r.Key)
	b = append(b, `,"rate_limiting_limit":`...)
	b = strconv.AppendInt(b, r.Limit, 10)
	b = append(b, `,"rate_limiting_remaining":`...)
	b = strconv.AppendInt(b, r.Remaining, 10)
	b = append(b, `,"rate_limiting_reset":`...)
	b = strconv.AppendInt(b, r.Reset, 10)
	return append(b, '}'), true
}

// appendQuoted writes text as a JSON string.
func appendQuoted(b, text []byte) []byte {
	for _, x := range text {
		if x < ' ' || x == '"' || x == '\\' || x >= 0x7f {
			quoted, _ := json.Marshal(string(text)) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
