package cache

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/wire"
)

// Directives are what Cache-Control says. Times are in seconds, and below zero
// when they are not given.
type Directives struct {
	NoStore, NoCache, Private, Public, MustRevalidate, OnlyIfCached bool

	MaxAge, SharedMaxAge, MinFresh int64
}

// Control reads all fields called Cache-Control. no-cache and private count
// also when they are for single fields only. A time that cannot be read is zero.
func Control(h *wire.Header) Directives {
	d := Directives{MaxAge: -1, SharedMaxAge: -1, MinFresh: -1}
	for i := range h.Len() {
		if f := h.At(i); wire.EqualFold(f.Name, "Cache-Control") {
			for one := range strings.SplitSeq(f.Value, ",") {
				d.add(one)
			}
		}
	}
	return d
}

func (d *Directives) add(one string) {
	name, value, _ := strings.Cut(strings.Trim(one, " \t"), "=")
	switch name = strings.TrimRight(name, " \t"); {
	case wire.EqualFold(name, "no-store"):
		d.NoStore = true
	case wire.EqualFold(name, "no-cache"):
		d.NoCache = true
	case wire.EqualFold(name, "private"):
		d.Private = true
	case wire.EqualFold(name, "public"):
		d.Public = true
	case wire.EqualFold(name, "must-revalidate"), wire.EqualFold(name, "proxy-revalidate"):
		d.MustRevalidate = true
	case wire.EqualFold(name, "only-if-cached"):
		d.OnlyIfCached = true
	case wire.EqualFold(name, "max-age"):
		d.MaxAge = deltaSeconds(value)
	case wire.EqualFold(name, "s-maxage"):
		d.SharedMaxAge = deltaSeconds(value)
	case wire.EqualFold(name, "min-fresh"):
		d.MinFresh = deltaSeconds(value)
	}
}

// longest is how long anything is good for, in seconds: ten years.
const longest = 10 * 365 * 24 * 3600

func deltaSeconds(s string) int64 {
	n, err := strconv.ParseUint(strings.Trim(s, " \t\""), 10, 64)
	if err != nil && n != math.MaxUint64 { // that is: out of range
		return 0
	}
	return int64(min(n, longest))
}

// Lifetime is how long a response says that it is good for in caches that many
// share. ok is false when it does not say.
func (d *Directives) Lifetime(h *wire.Header, now time.Time) (valid time.Duration, ok bool) {
	switch {
	case d.SharedMaxAge >= 0:
		return time.Duration(d.SharedMaxAge) * time.Second, true
	case d.MaxAge >= 0:
		return time.Duration(d.MaxAge) * time.Second, true
	}
	v, ok := h.Lookup("Expires")
	if !ok {
		return 0, false
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, true // as a time in the past
	}
	return min(max(t.Sub(now), 0), longest*time.Second), true
}

// Age is the value of the field Age, zero when there is none.
func Age(h *wire.Header) time.Duration {
	v, ok := h.Lookup("Age")
	if !ok {
		return 0
	}
	return time.Duration(deltaSeconds(v)) * time.Second
}
