package relay

import "sluice/configcenter/relay/keys"

// span is a range of keys as etcd's requests give it: one key when end is
// empty, all keys from key on when end is a zero byte.
type span struct{ key, end string }

const open = keys.Open

// watchSpan is the span of a watch, for which no key is the smallest.
func watchSpan(key, end []byte) span {
	if len(key) == 0 {
		key = []byte{0}
	}
	return span{string(key), string(end)}
}

func (s span) one() bool { return s.end == "" }

func (s span) empty() bool { return s.end != "" && s.end != open && s.key >= s.end }

func (s span) has(key []byte) bool {
	switch {
	case s.end == "":
		return string(key) == s.key
	case s.end == open:
		return string(key) >= s.key
	}
	return string(key) >= s.key && string(key) < s.end
}

// covers says whether all keys of o are keys of s.
func (s span) covers(o span) bool {
	switch {
	case o.key < s.key:
		return false
	case s.end == open:
		return true
	case s.end == "":
		return o == s
	case o.end == "":
		return o.key < s.end
	}
	return o.end != open && o.end <= s.end
}

func (s span) meets(o span) bool {
	return s.has([]byte(o.key)) || o.has([]byte(s.key))
}

// within is the span as it is in the cluster.
func (s span) within(namespace string) span {
	if namespace == "" {
		return s
	}
	key, end := keys.Within(namespace, s.key, s.end)
	return span{key, end}
}
