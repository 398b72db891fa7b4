// Package pcre runs the regular expressions of plugin configurations, which
// are written for PCRE, and replacements in the form $1, ${1}. An expression
// that means the same to Go's linear-time engine runs there; one that needs
// look-around or back-references runs on a backtracking engine with a time
// limit.
//
// It does not know what the texts are.
package pcre

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// limit is how long one match of a backtracking expression may take.
const limit = 100 * time.Millisecond

// Regexp is a compiled expression; safe for concurrent use. Exactly one engine is set.
type Regexp struct {
	linear *regexp.Regexp
	back   *regexp2.Regexp
}

// Compile compiles pattern with options, letters as ngx.re takes them: i, m, s,
// x, u, U, A-anchoring a, D; j, o, d say how to run it and change nothing here.
func Compile(pattern, options string) (*Regexp, error) {
	flags, err := readFlags(options)
	if err != nil {
		return nil, err
	}
	if r, err := flags.linear(pattern); err == nil {
		return &Regexp{linear: r}, nil
	} else if r := flags.backtracking(pattern); r != nil {
		return &Regexp{back: r}, nil
	} else {
		return nil, describe(pattern, err)
	}
}

type flags struct{ fold, multi, dotAll, extended, anchored bool }

func readFlags(options string) (f flags, err error) {
	for _, o := range options {
		switch o {
		case 'i':
			f.fold = true
		case 'm':
			f.multi = true
		case 's':
			f.dotAll = true
		case 'x':
			f.extended = true
		case 'a':
			f.anchored = true
		case 'j', 'o', 'd', 'u', 'U', 'D', 'J':
		default:
			return f, fmt.Errorf("unknown flag \"%c\" (flags \"%s\")", o, options)
		}
	}
	return f, nil
}

var errEngine = errors.New("not for the linear engine")

func (f flags) linear(pattern string) (*regexp.Regexp, error) {
	if f.extended || strings.HasSuffix(pattern, `\Z`) {
		return nil, errEngine // Go has neither
	}
	var mode string
	if f.fold {
		mode += "i"
	}
	if f.multi {
		mode += "m"
	}
	if f.dotAll {
		mode += "s"
	}
	text := pattern
	if f.anchored {
		text = `\A(?:` + text + `)`
	}
	if mode != "" {
		text = "(?" + mode + ":" + text + ")"
	}
	r, err := regexp.Compile(text)
	if err != nil && text != pattern {
		// The error must name the expression as written.
		if _, plain := regexp.Compile(pattern); plain != nil {
			err = plain
		}
	}
	return r, err
}

func (f flags) backtracking(pattern string) *regexp2.Regexp {
	var o regexp2.RegexOptions
	for _, m := range [...]struct {
		on bool
		o  regexp2.RegexOptions
	}{
		{f.fold, regexp2.IgnoreCase}, {f.multi, regexp2.Multiline},
		{f.dotAll, regexp2.Singleline}, {f.extended, regexp2.IgnorePatternWhitespace},
	} {
		if m.on {
			o |= m.o
		}
	}
	if f.anchored {
		pattern = `\G(?:` + pattern + `)`
	}
	r, err := regexp2.Compile(pattern, o)
	if err != nil {
		return nil
	}
	r.MatchTimeout = limit
	return r
}

// describe words a compile error as users of PCRE know it.
func describe(pattern string, err error) error {
	what, at := err.Error(), ""
	var se *syntax.Error
	if errors.As(err, &se) {
		what = string(se.Code)
		switch se.Code {
		case syntax.ErrMissingParen:
			what = "missing )"
		case syntax.ErrUnexpectedParen:
			what, at = "unmatched parentheses", se.Expr
			if i := strings.LastIndexByte(pattern, ')'); i >= 0 {
				at = pattern[i:]
			}
		case syntax.ErrMissingBracket:
			what = "missing terminating ] for character class"
		case syntax.ErrMissingRepeatArgument, syntax.ErrInvalidRepeatOp:
			what, at = "nothing to repeat", se.Expr
		case syntax.ErrTrailingBackslash:
			what = `\ at end of pattern`
		}
	}
	text := fmt.Sprintf("pcre_compile() failed: %s in \"%s\"", what, pattern)
	if at != "" {
		text += fmt.Sprintf(" at \"%s\"", at)
	}
	return errors.New(text)
}

// Match reports whether s has a match. A backtracking expression that runs out
// of time has none.
func (r *Regexp) Match(s string) bool {
	if r.linear != nil {
		return r.linear.MatchString(s)
	}
	ok, err := r.back.MatchString(s)
	return err == nil && ok
}

// Find returns the first match and its captures; nil when there is none. A
// capture that took no part is empty.
func (r *Regexp) Find(s string) ([]string, error) {
	if r.linear != nil {
		return r.linear.FindStringSubmatch(s), nil
	}
	m, err := r.back.FindStringMatch(s)
	if m == nil || err != nil {
		return nil, err
	}
	return captures(m), nil
}

func captures(m *regexp2.Match) []string {
	groups := m.Groups()
	list := make([]string, len(groups))
	for i := range groups {
		list[i] = groups[i].String()
	}
	return list
}

// Replace puts with in the place of the first match in s, or of every match.
// s comes back as it is when there is none.
func (r *Regexp) Replace(s string, with *Replacement, all bool) (string, error) {
	n := 1
	if all {
		n = -1
	}
	if r.linear != nil {
		return r.replaceLinear(s, with, n), nil
	}
	return r.back.ReplaceFunc(s, func(m regexp2.Match) string {
		return with.Expand(captures(&m))
	}, -1, n)
}

func (r *Regexp) replaceLinear(s string, with *Replacement, n int) string {
	found := r.linear.FindAllStringSubmatchIndex(s, n)
	if found == nil {
		return s
	}
	b := make([]byte, 0, len(s)+len(found)*len(with.text))
	last := 0
	for _, m := range found {
		b = append(b, s[last:m[0]]...)
		for _, p := range with.parts {
			b = append(b, p.text...)
			if i := 2 * p.capture; p.capture >= 0 && i+1 < len(m) && m[i] >= 0 {
				b = append(b, s[m[i]:m[i+1]]...)
			}
		}
		last = m[1]
	}
	return string(append(b, s[last:]...))
}

// ReplaceFirst is Replace of the first match that also yields its captures; nil
// captures mean that there was none.
func (r *Regexp) ReplaceFirst(s string, with *Replacement) (out string, captured []string, err error) {
	if r.linear == nil {
		m, err := r.back.FindStringMatch(s)
		if m == nil || err != nil {
			return s, nil, err
		}
		if out, err = r.Replace(s, with, false); err != nil {
			return s, nil, err
		}
		return out, captures(m), nil
	}
	m := r.linear.FindStringSubmatchIndex(s)
	if m == nil {
		return s, nil, nil
	}
	captured = make([]string, len(m)/2)
	for i := range captured {
		if m[2*i] >= 0 {
			captured[i] = s[m[2*i]:m[2*i+1]]
		}
	}
	return s[:m[0]] + with.Expand(captured) + s[m[1]:], captured, nil
}
