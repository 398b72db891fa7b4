package plugins

import (
	"strconv"
	"strings"
	"testing"
)

func TestScratch(t *testing.T) {
	c := new(Ctx)
	for range 3 { // as many requests of a connection
		var kept []string
		for i := range 200 {
			kept = append(kept, c.Keep(strconv.AppendInt(c.Scratch(), int64(i), 10)))
			_ = append(c.Scratch(), "forgotten"...)
		}
		big := c.Keep(append(c.Scratch(), strings.Repeat("x", 5000)...))
		for i, s := range kept {
			if s != strconv.Itoa(i) {
				t.Fatalf("text %d is %q", i, s)
			}
		}
		if strings.Trim(big, "x") != "" || len(big) != 5000 || c.Keep(c.Scratch()) != "" {
			t.Fatal("long or empty text is wrong")
		}
		c.Reset(t.Context(), nil, nil, nil)
	}
	if n := testing.AllocsPerRun(100, func() {
		c.Keep(strconv.AppendInt(c.Scratch(), 1234567, 10))
		c.Reset(t.Context(), nil, nil, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
