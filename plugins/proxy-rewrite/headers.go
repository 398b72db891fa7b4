package proxyrewrite

import (
	"sluice/plugins"
	"sluice/plugins/internal/headerop"
)

// headers is the member of that name in both its forms: {add, set, remove}, or
// names and values to set.
type headers struct {
	Add    headerop.Fields `json:"add"`
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
	if err := o.Add(h.Add); err != nil {
		return err
	}
	if err := o.Set(h.Set); err != nil {
		return err
	}
	if h.flat {
		if err := h.Set.CheckText(); err != nil {
			return err
		}
	}
	o.Remove(h.Remove)
	return nil
}
