// Package template translates templates in the language of lua-resty-template
// into Lua.
//
//	{{expression}}        the value, escaped for HTML
//	{*expression*}        the value as it is
//	{% statements %}      Lua
//	{(template)}          another template, {(template, context)} with its own context
//	{[expression]}        the template that the expression yields
//	{# comment #}         nothing
//	{-raw-} … {-raw-}     the text between, as it is; also {-verbatim-}
//	{-name-} … {-name-}   a block: the text between is the template blocks["name"]
//
// A backslash in front of a tag takes its meaning away.
//
// It runs nothing and knows no requests.
package template

import "strings"

// The chunk that Lua makes gets these arguments: the context, and functions that
// escape a value, turn one into text, add values to the pieces, include a
// template, and end the template with its pieces, its layout and its blocks.
const head = "local context,___e,___o,___a,include,___r=...\n" +
	"local ___,blocks,layout={},blocks or {}\n" +
	"local function echo(...) ___a(___,...) end\n"

const tail = "return ___r(___,layout,blocks)\n"

// closers are what ends a tag, by what begins it behind the brace.
var closers = map[byte]string{'{': "}}", '*': "*}", '%': "%}", '(': ")}", '[': "]}", '-': "-}", '#': "#}"}

// Lua is the chunk for a template.
func Lua(text string) string {
	t := translator{text: text}
	t.b.WriteString(head)
	for at := strings.IndexByte(text, '{'); at >= 0; {
		next := at + 1
		if next < len(text) {
			if closer := closers[text[next]]; closer != "" {
				if end := strings.Index(text[min(next+1, len(text)):], closer); end >= 0 {
					next = t.tag(at, next+1+end)
				}
			}
		}
		i := strings.IndexByte(text[next:], '{')
		if i < 0 {
			break
		}
		at = next + i
	}
	t.literal(t.done, len(text))
	t.b.WriteString(tail)
	return t.b.String()
}

// translator is a translation under way.
type translator struct {
	text string
	done int // everything before is translated
	b    strings.Builder
}

// tag translates the tag that begins at at and whose closer stands at end. It
// returns where to look for the next one.
func (t *translator) tag(at, end int) int {
	kind, inside := t.text[at+1], t.text[at+2:end]
	if kind == '-' {
		return t.block(at, end)
	}
	before, plain := t.escaped(at)
	if plain {
		t.literal(t.done, before)
		t.done = at
		return at + 1
	}
	next := end + 2
	switch kind {
	case '%':
		before = t.indent(at)
		next = t.afterBreak(next)
	case '#':
		next = t.afterBreak(next)
	}
	t.literal(t.done, before)
	switch kind {
	case '{':
		t.write("___[#___+1]=___e(", strings.TrimSpace(inside), ")\n")
	case '*':
		t.write("___[#___+1]=___o(", strings.TrimSpace(inside), ")\n")
	case '%':
		t.write(strings.TrimSpace(inside), "\n")
	case '[':
		t.write("___[#___+1]=include(", strings.TrimSpace(inside), ")\n")
	case '(':
		name, context, has := inside, "", false
		if inside != "" {
			name, context, has = strings.Cut(inside[1:], ",")
			name = inside[:1] + name
		}
		t.write("___[#___+1]=include(", quote(strings.TrimSpace(name)))
		if has {
			t.write(",", strings.TrimSpace(context))
		}
		t.write(")\n")
	}
	t.done = next
	return next
}

// block translates {-name-} and all up to the same tag once more.
func (t *translator) block(at, end int) int {
	opening := t.text[at : end+2]
	length := strings.Index(t.text[end+2:], opening)
	if length < 0 {
		return at + 1
	}
	before, plain := t.escaped(at)
	if plain {
		t.literal(t.done, before)
		t.done = at
		return at + 1
	}
	inside := t.text[end+2 : end+2+length]
	name := strings.TrimSpace(t.text[at+2 : end])
	next := t.afterBreak(end + 2 + length + len(opening))
	if name == "raw" || name == "verbatim" {
		t.literal(t.done, before)
		t.write("___[#___+1]=", quote(inside), "\n")
	} else {
		t.literal(t.done, t.indent(at))
		t.write("blocks[", quote(name), "]=include(", quote(strings.TrimSuffix(inside, "\n")), ")\n")
	}
	t.done = next
	return next
}

// escaped tells where the literal text before a tag ends, and whether a
// backslash makes the tag literal, too. Two of them stand for one.
func (t *translator) escaped(at int) (before int, plain bool) {
	if at == 0 || t.text[at-1] != '\\' {
		return at, false
	}
	return at - 1, at < 2 || t.text[at-2] != '\\'
}

// indent is where the blanks begin that lead to a tag.
func (t *translator) indent(at int) int {
	for at > 0 && strings.IndexByte(" \t\v\x00", t.text[at-1]) >= 0 {
		at--
	}
	return at
}

// afterBreak skips the line break behind a tag.
func (t *translator) afterBreak(at int) int {
	if at < len(t.text) && t.text[at] == '\n' {
		return at + 1
	}
	return at
}

func (t *translator) literal(from, to int) {
	if from < to {
		t.write("___[#___+1]=", quote(t.text[from:to]), "\n")
	}
}

func (t *translator) write(parts ...string) {
	for _, p := range parts {
		t.b.WriteString(p)
	}
}

// quote is s as a string of Lua.
func quote(s string) string {
	const digits = "0123456789"
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', digits[c/100], digits[c/10%10], digits[c%10])
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
