package keys

import "testing"

func TestWithin(t *testing.T) {
	for _, tt := range []struct{ prefix, key, end, wantKey, wantEnd string }{
		{"/ns", "a", "", "/nsa", ""},
		{"/ns", "a", "b", "/nsa", "/nsb"},
		{"/ns", "a", Open, "/nsa", "/nt"},
		{"/ns\xff\xff", "", Open, "/ns\xff\xff", "/nt"},
		{"\xff", "a", Open, "\xffa", Open},
		{"", "a", Open, "a", Open},
	} {
		if key, end := Within(tt.prefix, tt.key, tt.end); key != tt.wantKey || end != tt.wantEnd {
			t.Errorf("%q within %q: got %q to %q, want %q to %q", tt.key+" to "+tt.end, tt.prefix, key, end, tt.wantKey, tt.wantEnd)
		}
	}
}
