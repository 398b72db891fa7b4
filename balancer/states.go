package balancer

import "slices"

// stateKey is an endpoint's identity within its upstream.
type stateKey struct{ identity, addr, host string }

// stateTable holds the states of one upstream. Most have few: a map for each of a
// hundred thousand upstreams would be the largest thing in memory.
type stateTable struct {
	all   []*State
	index map[stateKey]*State // once there are many
}

// manyStates is from where on states are looked up in a map.
const manyStates = 16

func (s *stateTable) get(k stateKey) *State {
	if s.index != nil {
		return s.index[k]
	}
	for _, st := range s.all {
		if st.key == k {
			return st
		}
	}
	return nil
}

func (s *stateTable) add(st *State) {
	st.place = len(s.all)
	s.all = append(s.all, st)
	switch {
	case s.index != nil:
		s.index[st.key] = st
	case len(s.all) > manyStates:
		s.index = map[stateKey]*State{}
		for _, st := range s.all {
			s.index[st.key] = st
		}
	}
}

// remove reports whether st was there.
func (s *stateTable) remove(st *State) bool {
	if st.place >= len(s.all) || s.all[st.place] != st {
		return false
	}
	last := len(s.all) - 1
	s.all[st.place] = s.all[last]
	s.all[st.place].place = st.place
	s.all = slices.Delete(s.all, last, last+1)
	delete(s.index, st.key)
	return true
}
