package router

import (
	"strings"

	"sluice/router/expr"
)

// pattern is a configured path with segments that capture. Stars cut it into
// blocks: a path matches when it begins with the first block, ends with the last,
// and has the others between them in order; the stars take what is left over,
// earlier ones as much as they can.
type pattern struct {
	blocks []block
	stars  []string // names of the stars, one less than blocks
	// regex is set when the literal text has characters that mean something in
	// regular expressions, which is what APISIX makes of a pattern: "/foo*/*"
	// matches "/foo/x" there. It is tried when the text as it stands does not match.
	regex *expr.Regex
	names []string // for the regex's groups called wildcard, in their order
}

// block is a run of literal text and parameters.
type block []part

// part is literal text, or a parameter: one segment, not empty.
type part struct {
	text  string
	param bool
	name  string // of a parameter
}

// wildcard is the name of the groups of a pattern's regular expression that
// stand for its stars and parameters.
const wildcard = "w_"

// extName is the name of a star that has none.
const extName = ":ext"

// splitPath returns the literal text by which a configured path is found, and
// whether that is all of it (an exact path). With params a colon ends the text too.
func splitPath(path string, params bool) (text string, exact bool) {
	if params {
		if i := strings.IndexByte(path, ':'); i >= 0 {
			return path[:i], false
		}
	}
	if i := strings.IndexByte(path, '*'); i >= 0 {
		return path[:i], false
	}
	return path, true
}

// newPattern compiles a path that is not exact. It returns nil when no segment
// captures: then the literal text before the first star says it all.
//
// A segment that begins with a colon is a parameter in all modes, though
// outside the parameter mode the tree lets only paths come here that have the
// colon themselves, except for those after a star.
func newPattern(path string) *pattern {
	p := &pattern{}
	var cur block
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			cur = append(cur, part{text: text.String()})
			text.Reset()
		}
	}
	captures := false
	segments := strings.Split(strings.TrimRight(path, "/"), "/")
	for i, seg := range segments {
		if i > 0 {
			text.WriteByte('/')
		}
		switch {
		case strings.HasPrefix(seg, ":"):
			flush()
			cur = append(cur, part{param: true, name: seg[1:]})
			captures = true
		case strings.HasPrefix(seg, "*"):
			flush()
			name := seg[1:]
			if name == "" {
				name = extName
			}
			p.blocks = append(p.blocks, cur)
			p.stars = append(p.stars, name)
			cur, captures = nil, true
		default:
			text.WriteString(seg)
		}
	}
	if !captures {
		return nil
	}
	if strings.HasSuffix(path, "/") {
		text.WriteByte('/')
	}
	flush()
	p.blocks = append(p.blocks, cur)
	p.dropDoubles()
	p.setRegex(segments, path)
	return p
}

// setRegex sets regex if the pattern needs it. A text that is no regular
// expression only matches as it stands.
func (p *pattern) setRegex(segments []string, path string) {
	special := false
	parts := make([]string, len(segments))
	for i, seg := range segments {
		switch {
		case strings.HasPrefix(seg, ":"):
			parts[i] = "(?<" + wildcard + ">[^/]+)"
		case strings.HasPrefix(seg, "*"):
			parts[i] = "(?<" + wildcard + `>[\s\S]*)`
		default:
			parts[i] = seg
			special = special || strings.ContainsAny(seg, `\^$|?*+()[]{}`)
		}
	}
	if !special {
		return
	}
	text := strings.Join(parts, "/")
	if strings.HasSuffix(path, "/") {
		text += "/"
	}
	p.regex, _ = expr.CompileRegex(text, "jo")
	for i, b := range p.blocks {
		for _, part := range b {
			if part.param {
				p.names = append(p.names, part.name)
			}
		}
		if i < len(p.stars) {
			p.names = append(p.names, p.stars[i])
		}
	}
}

// matchRegex is match by the regular expression.
func (p *pattern) matchRegex(path string, params []Param) ([]Param, bool) {
	m := p.regex.FindSubmatchIndex(path)
	if m == nil || m[0] != 0 || m[1] != len(path) {
		return params, false
	}
	k := 0
	for i, name := range p.regex.Names() {
		if name != wildcard || k == len(p.names) {
			continue
		}
		if m[2*i] >= 0 { // the text may make it optional
			params = capture(params, p.names[k], path[m[2*i]:m[2*i+1]])
		}
		k++
	}
	return params, true
}

// onlyRest says whether all the pattern asks for is that the path begins with
// text, and returns the name of what follows it.
func (p *pattern) onlyRest(text string) (name string, ok bool) {
	if p == nil || len(p.stars) != 1 || len(p.blocks[1]) > 0 {
		return "", false
	}
	b := p.blocks[0]
	if len(b) > 1 || len(b) == 1 && b[0].text != text || len(b) == 0 && text != "" {
		return "", false
	}
	return p.stars[0], true
}

// match says whether the whole of path matches, and appends the captures.
func (p *pattern) match(path string, params []Param) ([]Param, bool) {
	params, ok := p.matchText(path, params)
	if !ok && p.regex != nil {
		return p.matchRegex(path, params)
	}
	return params, ok
}

// matchText is match with the literal text as it stands.
func (p *pattern) matchText(path string, params []Param) ([]Param, bool) {
	before := len(params)
	first, params, ok := p.blocks[0].match(path, 0, params)
	if !ok || len(p.stars) == 0 && first != len(path) {
		return params[:before], false
	}
	// From the right, each block as far right as it can be: that leaves the most
	// to the earlier stars, and never needs a second attempt.
	end := len(path)
	for i := len(p.stars); i > 0; i-- {
		var at, stop int
		at, stop, params, ok = p.blocks[i].last(path, first, end, i == len(p.stars), params)
		if !ok {
			return params[:before], false
		}
		if i < len(p.stars) {
			params = capture(params, p.stars[i], path[stop:end])
		}
		end = at
	}
	if len(p.stars) > 0 {
		params = capture(params, p.stars[0], path[first:end])
	}
	return params, true
}

// match matches the block at one place of path and returns where it ends.
func (b block) match(path string, at int, params []Param) (int, []Param, bool) {
	for i := range b {
		p := &b[i]
		if !p.param {
			if !strings.HasPrefix(path[at:], p.text) {
				return at, params, false
			}
			at += len(p.text)
			continue
		}
		n := strings.IndexByte(path[at:], '/')
		if n < 0 {
			n = len(path) - at
		}
		if n == 0 {
			return at, params, false
		}
		params = capture(params, p.name, path[at:at+n])
		at += n
	}
	return at, params, true
}

// last matches the block at the rightmost place where it begins at or after
// first and ends at or before end; at end, when closing is set.
func (b block) last(path string, first, end int, closing bool, params []Param) (at, stop int, out []Param, ok bool) {
	if len(b) == 0 {
		return end, end, params, true
	}
	before := len(params)
	lead := b[0].text // a block after a star begins with a slash
	for limit := end; ; {
		i := strings.LastIndex(path[first:max(first, limit)], lead)
		if i < 0 {
			return 0, 0, params[:before], false
		}
		at = first + i
		stop, params, ok = b.match(path, at, params[:before])
		if ok && stop <= end && (!closing || stop == end) {
			return at, stop, params, true
		}
		limit = at + len(lead) - 1
	}
}

// capture appends a capture. Only the last of several with one name has it.
func capture(params []Param, name, value string) []Param {
	if name == "" {
		return params
	}
	return append(params, Param{Name: name, Value: value})
}

// dropDoubles takes the name from all but the last capture of each name.
func (p *pattern) dropDoubles() {
	seen := map[string]bool{}
	for i := len(p.blocks) - 1; i >= 0; i-- {
		if i < len(p.stars) {
			drop(seen, &p.stars[i])
		}
		for k := len(p.blocks[i]) - 1; k >= 0; k-- {
			if p.blocks[i][k].param {
				drop(seen, &p.blocks[i][k].name)
			}
		}
	}
}

func drop(seen map[string]bool, name *string) {
	if seen[*name] {
		*name = ""
		return
	}
	seen[*name] = true
}
