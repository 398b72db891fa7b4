package responserewrite

import (
	"fmt"
	"regexp"

	"sluice/plugins"
	"sluice/plugins/internal/headerop"
)

// headers is the member of that name in both its forms: {add, set, remove}, or
// names and values to set.
type headers struct {
	Add    []string        `json:"add"` // "Name: value"
	Set    headerop.Fields `json:"set"`
	Remove []string        `json:"remove"`
	flat   bool
}

// UnmarshalJSON tells the forms apart.
func (h *headers) UnmarshalJSON(b []byte) (err error) {
	if h.flat, err = headerop.IsFlat(b); err != nil {
		return err
	}
	if h.flat {
		return plugins.Decode(b, &h.Set)
	}
	type plain headers
	return plugins.Decode(b, (*plain)(h))
}

func (h *headers) compile(o *headerop.Operations) error {
	if h.flat {
		if err := h.Set.CheckFlat(); err != nil {
			return err
		}
	}
	field := regexp.MustCompile(`^([^:\s]+)\s*:\s*([^:]+)$`)
	for _, text := range h.Add {
		m := field.FindStringSubmatch(text)
		if m == nil {
			return fmt.Errorf("header %q is not of the form \"name: value\"", text)
		}
		if err := o.AddField(m[1], m[2]); err != nil {
			return err
		}
	}
	o.Remove(h.Remove)
	return o.Set(h.Set)
}
