package lib

import (
	"math"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Duration is n units of time, cut to what a Duration holds; of what is no number, 0.
func Duration(n lua.LNumber, unit time.Duration) time.Duration {
	d := float64(n) * float64(unit)
	switch {
	case d != d:
		return 0
	case d > math.MaxInt64/2:
		return math.MaxInt64 / 2
	case d < -math.MaxInt64/2:
		return -math.MaxInt64 / 2
	}
	return time.Duration(d)
}

func seconds(l *lua.LState) time.Time { return time.Unix(int64(l.CheckNumber(1)), 0).UTC() }

// HTTPTime is ngx.http_time.
func HTTPTime(l *lua.LState) int {
	l.Push(lua.LString(seconds(l).Format("Mon, 02 Jan 2006 15:04:05 GMT")))
	return 1
}

// CookieTime is ngx.cookie_time.
func CookieTime(l *lua.LState) int {
	t, layout := seconds(l), "Mon, 02-Jan-06 15:04:05 GMT"
	if t.Year() > 2037 {
		layout = "Mon, 02-Jan-2006 15:04:05 GMT"
	}
	l.Push(lua.LString(t.Format(layout)))
	return 1
}

// ParseHTTPTime is ngx.parse_http_time.
func ParseHTTPTime(l *lua.LState) int {
	for _, layout := range [...]string{time.RFC1123, "Monday, 02-Jan-06 15:04:05 MST", time.ANSIC} {
		if t, err := time.Parse(layout, l.CheckString(1)); err == nil {
			l.Push(lua.LNumber(t.Unix()))
			return 1
		}
	}
	l.Push(lua.LNil)
	return 1
}
