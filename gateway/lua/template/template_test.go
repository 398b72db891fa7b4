package template

import (
	"strings"
	"testing"
)

func TestLua(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"a\n\"\\\xff":                 `___[#___+1]="a\010\"\\\255"`,
		"{{ x }}{*y*}":                "___[#___+1]=___e(x)\n___[#___+1]=___o(y)",
		"a \t{% x() %}\nb":            "___[#___+1]=\"a\"\nx()\n___[#___+1]=\"b\"",
		"{(a)}{(a, b)}{([x], y)}{()}": "___[#___+1]=include(\"a\")\n___[#___+1]=include(\"a\",b)\n___[#___+1]=include(\"[x]\",y)\n___[#___+1]=include(\"\")",
		"{[x]}{#y#}\nz":               "___[#___+1]=include(x)\n___[#___+1]=\"z\"",
		"a{-raw-}{{b}}{-raw-}c":       "___[#___+1]=\"a\"\n___[#___+1]=\"{{b}}\"\n___[#___+1]=\"c\"",
		"  {-n\"-}\nx\n{-n\"-}\n":     "blocks[\"n\\\"\"]=include(\"\\010x\")",
		`\{*a*}`:                      `___[#___+1]="{*a*}"`,
		`\\{*a*}`:                     "___[#___+1]=\"\\\\\"\n___[#___+1]=___o(a)",
		"{-a-}{{b":                    `___[#___+1]="{-a-}{{b"`,
		"{":                           `___[#___+1]="{"`,
	} {
		got := strings.TrimSuffix(strings.TrimPrefix(Lua(text), head), tail)
		if strings.TrimSuffix(got, "\n") != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}
