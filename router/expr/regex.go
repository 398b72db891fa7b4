package expr

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// matchTimeout bounds one match of the backtracking engine, and allTimeout the
// search for all in one subject; a match that takes longer counts as none. The
// linear engine needs no bound.
const (
	matchTimeout = 100 * time.Millisecond
	allTimeout   = time.Second
)

// Regex is a regular expression that means what it means in PCRE with the flags
// of ngx.re. The engine is Go's, which is linear in the length of the subject;
// only what it cannot do (look-around, back references, atomic groups) goes to a
// backtracking engine. It is immutable and safe for concurrent use.
//
// Without the flag "u" the units of the subject are bytes, as in PCRE.
type Regex struct {
	source string
	linear *regexp.Regexp // nil: needs backtracking
	// newline: the pattern has an anchor that depends on a newline at the end of
	// the subject in a way that the linear engine cannot say; such subjects go to
	// the other engine.
	newline bool
	utf     bool
	names   []string // of the groups, by number; "" for those without

	backtrack func() (*regexp2.Regexp, error)
}

// CompileRegex compiles pattern. flags are those of ngx.re: i, m, s, x, u, a, D
// and U have their meaning, and d, j, J and o have none here.
func CompileRegex(pattern, flags string) (*Regex, error) {
	t := translator{src: pattern}
	for _, f := range flags {
		switch f {
		case 'i':
			t.fold = true
		case 'm':
			t.multiline = true
		case 's':
			t.dotAll = true
		case 'x':
			t.extended = true
		case 'u':
			t.utf = true
		case 'a':
			t.anchored = true
		case 'D':
			t.dollarEnd = true
		case 'U', 'd', 'j', 'J', 'o':
		default:
			return nil, fmt.Errorf("unknown flag %q (flags %q)", string(f), flags)
		}
	}
	if err := t.translate(); err != nil {
		return nil, fmt.Errorf("regex %q: %w", pattern, err)
	}
	r := &Regex{source: pattern, utf: t.utf, newline: t.newline, names: t.names}
	text := t.back.String()
	r.backtrack = sync.OnceValues(func() (*regexp2.Regexp, error) {
		re, err := regexp2.Compile(text)
		if err == nil {
			re.MatchTimeout = matchTimeout
		}
		return re, err
	})
	if !t.backtracks {
		r.linear, _ = regexp.Compile(t.linear.String())
	}
	if r.linear == nil {
		if _, err := r.backtrack(); err != nil {
			return nil, fmt.Errorf("regex %q: %w", pattern, err)
		}
	}
	return r, nil
}

// String is the pattern as it was given.
func (r *Regex) String() string { return r.source }

// Names are the names of the groups by number, "" for those without one; group
// 0 is the whole match.
func (r *Regex) Names() []string { return r.names }

// Linear says whether matching takes time linear in the length of the subject.
func (r *Regex) Linear() bool { return r.linear != nil }

// Match says whether s contains a match.
func (r *Regex) Match(s string) bool {
	text, ok := r.subject(s)
	if !ok {
		return false
	}
	if r.linear != nil && !(r.newline && strings.HasSuffix(s, "\n")) {
		return r.linear.MatchString(text)
	}
	re, err := r.backtrack()
	if err != nil {
		return false
	}
	ok, err = re.MatchString(text)
	return ok && err == nil
}

// FindSubmatchIndex returns the places of the first match and its groups in s as
// pairs of byte offsets, -1 for groups that took no part; nil without a match.
func (r *Regex) FindSubmatchIndex(s string) []int {
	all := r.FindAllSubmatchIndex(s, 1)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// FindAllSubmatchIndex returns the places of at most n matches, of all when n is
// negative. An empty match right after another one does not count.
func (r *Regex) FindAllSubmatchIndex(s string, n int) [][]int {
	text, ok := r.subject(s)
	if !ok || n == 0 {
		return nil
	}
	var all [][]int
	if r.linear == nil || r.newline && strings.HasSuffix(s, "\n") {
		return r.findBacktracking(text, n)
	}
	if n == 1 {
		if m := r.linear.FindStringSubmatchIndex(text); m != nil {
			all = [][]int{m}
		}
	} else {
		all = r.linear.FindAllStringSubmatchIndex(text, n)
	}
	if len(text) != len(s) {
		renumber(all, widened(s))
	}
	return all
}

// findBacktracking counts characters, which are the bytes of the subject unless
// the pattern is for UTF-8.
func (r *Regex) findBacktracking(text string, n int) (all [][]int) {
	re, err := r.backtrack()
	if err != nil {
		return nil
	}
	begin, end := time.Now(), -1
	for m, err := re.FindStringMatch(text); m != nil && err == nil; m, err = re.FindNextMatch(m) {
		places := make([]int, 0, 2*len(r.names))
		for i := range r.names {
			g := m.GroupByNumber(i)
			if g == nil || len(g.Captures) == 0 {
				places = append(places, -1, -1)
				continue
			}
			places = append(places, g.RuneIndex, g.RuneIndex+g.RuneLength)
		}
		if places[0] == places[1] && places[0] == end {
			continue
		}
		end = places[1]
		if all = append(all, places); len(all) == n || time.Since(begin) > allTimeout {
			break
		}
	}
	if r.utf {
		offsets := make([]int, 0, len(text)+1)
		for i := range text {
			offsets = append(offsets, i)
		}
		renumber(all, append(offsets, len(text)))
	}
	return all
}

// subject is s as the engines read it. They read characters, so that bytes
// above 127 become the characters of that number; ok is false for a subject
// that PCRE refuses.
func (r *Regex) subject(s string) (text string, ok bool) {
	high := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			high++
		}
	}
	switch {
	case high == 0:
		return s, true
	case r.utf:
		return s, utf8.ValidString(s)
	}
	b := make([]byte, 0, len(s)+high)
	for i := range len(s) {
		b = utf8.AppendRune(b, rune(s[i]))
	}
	return string(b), true
}

// widened returns, for each offset into the widened form of s, the one into s.
func widened(s string) []int {
	offsets := make([]int, 0, 2*len(s)+1)
	for i := range len(s) {
		offsets = append(offsets, i)
		if s[i] >= utf8.RuneSelf {
			offsets = append(offsets, i)
		}
	}
	return append(offsets, len(s))
}

func renumber(all [][]int, offsets []int) {
	for _, m := range all {
		for i, at := range m {
			if at >= 0 {
				m[i] = offsets[at]
			}
		}
	}
}
