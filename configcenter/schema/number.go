package schema

import "math"

// buildNumber compiles the checks of numbers, in the order in which they are made.
func (b *builder) buildNumber(n *node, o *object) error {
	n.lower(o)
	n.upper(o)
	if m, ok := number(o.get("multipleOf")); ok && m > 0 {
		n.bounds = append(n.bounds, bound{
			ok:   func(f float64) bool { return isMultiple(f, m) },
			text: " to be a multiple of " + luaNumber(m),
		})
	}
	return nil
}

func (n *node) lower(o *object) {
	limit, ok := number(o.get("minimum"))
	exclusive := o.get("exclusiveMinimum")
	if ok && exclusive != true {
		n.bounds = append(n.bounds, bound{
			ok: func(f float64) bool { return !(f < limit) }, text: " to be at least " + luaNumber(limit)})
	}
	if e, is := number(exclusive); is {
		limit, exclusive = e, true
	}
	if exclusive == true {
		n.bounds = append(n.bounds, bound{
			ok: func(f float64) bool { return !(f <= limit) }, text: " to be greater than " + luaNumber(limit)})
	}
}

func (n *node) upper(o *object) {
	limit, ok := number(o.get("maximum"))
	exclusive := o.get("exclusiveMaximum")
	if ok && exclusive != true {
		n.bounds = append(n.bounds, bound{
			ok: func(f float64) bool { return !(f > limit) }, text: " to be at most " + luaNumber(limit)})
	}
	if e, is := number(exclusive); is {
		limit, exclusive = e, true
	}
	if exclusive == true {
		n.bounds = append(n.bounds, bound{
			ok: func(f float64) bool { return !(f >= limit) }, text: " to be smaller than " + luaNumber(limit)})
	}
}

// isMultiple forgives the rounding of binary fractions: 1.13 is a multiple of 0.01.
func isMultiple(f, m float64) bool {
	if m == math.Trunc(m) {
		return math.Mod(f, m) == 0
	}
	q := f / m
	r := math.Floor(q + 0.5)
	return math.Abs(q-r) <= 1e-12*math.Max(1, math.Abs(r))
}
