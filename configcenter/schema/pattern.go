package schema

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// patternTimeout bounds one match of a pattern that needs backtracking.
const patternTimeout = 100 * time.Millisecond

// matcher is a compiled pattern.
type matcher func(s string) bool

// compilePattern takes the pattern for Go's linear engine if that understands
// it, and else for a backtracking one that knows PCRE's look-around and
// back-references; there a match that takes too long counts as none.
func compilePattern(pattern string) (matcher, error) {
	if pattern == ".*" {
		return func(string) bool { return true }, nil
	}
	if re, err := regexp.Compile(pattern); err == nil {
		return re.MatchString, nil
	}
	re, err := regexp2.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	re.MatchTimeout = patternTimeout
	return func(s string) bool {
		ok, err := re.MatchString(s)
		return ok && err == nil
	}, nil
}
