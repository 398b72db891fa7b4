// Package patterns is a list of regular expressions of which one must match, as
// the restricting plugins have them.
//
// It does not know what is matched, nor what follows from it.
package patterns

import (
	"errors"
	"fmt"

	"sluice/router/expr"
)

// List is the expressions, in order. Immutable.
type List []*expr.Regex

// Compile compiles each of patterns. flags are those of expr.CompileRegex. The
// error is worded as the users of ngx.re know it.
func Compile(patterns []string, flags string) (List, error) {
	l := make(List, len(patterns))
	for i, p := range patterns {
		r, err := expr.CompileRegex(p, flags)
		if err != nil {
			if why := errors.Unwrap(err); why != nil {
				err = why
			}
			return nil, fmt.Errorf("pcre_compile() failed: %w in \"%s\"", err, p)
		}
		l[i] = r
	}
	return l, nil
}

// Match reports whether any of the expressions matches a part of s.
func (l List) Match(s string) bool {
	for _, r := range l {
		if r.Match(s) {
			return true
		}
	}
	return false
}
