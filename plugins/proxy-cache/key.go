package proxycache

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"
	"sync"

	"sluice/plugins"
	"sluice/plugins/internal/cache"
)

// values are variables and texts one behind the other.
type values []value

// value is a variable, or a text when app is nil.
type value struct {
	text string
	app  plugins.Appender
}

func newValues(list []string) values {
	var vs values
	for _, s := range list {
		v := value{text: s}
		if name, ok := strings.CutPrefix(s, "$"); ok {
			v.app = plugins.VariableAppender(name)
		}
		vs = append(vs, v)
	}
	return vs
}

// keys are buffers for keys and the like.
var keys = sync.Pool{New: func() any { return new([]byte) }}

// say reports whether the values together are neither empty nor "0".
func (vs values) say(c *plugins.Ctx) bool {
	if len(vs) == 0 {
		return false
	}
	buf := keys.Get().(*[]byte)
	b := (*buf)[:0]
	for i := range vs {
		if vs[i].app == nil {
			b = append(b, vs[i].text...)
		} else {
			b, _ = vs[i].app(c, b)
		}
	}
	yes := len(b) != 0 && string(b) != "0"
	*buf = b[:0]
	keys.Put(buf)
	return yes
}

// The classes of methods: a GET must not be answered by what a POST got.
const (
	plain  = 'G' // GET and HEAD
	posted = 'P'
)

func classOf(method string) byte {
	if method == "POST" {
		return posted
	}
	return plain
}

// key makes keys of requests. Each part is followed by its length: requests
// that differ in a part have different keys, whatever clients write into them.
type key struct {
	values   values
	isolated bool // the requester's identity comes first
	decoded  bool // a part is the decoded path
	// credentials says that Authorization is a part, so that only those get a
	// response who sent the same.
	credentials bool
	remoteUser  plugins.Appender
}

func newKey(c *config) key {
	k := key{values: newValues(c.CacheKey), isolated: c.ConsumerIsolation, remoteUser: plugins.VariableAppender("remote_user")}
	for _, s := range c.CacheKey {
		switch s {
		case "$consumer_name", "$consumer_group_id", "$remote_user":
			k.isolated = false // the key has an identity of its own
		case "$http_authorization":
			k.isolated, k.credentials = false, true
		case "$uri", "$document_uri":
			k.decoded = true
		}
	}
	return k
}

// append writes the key of c behind b.
func (k *key) append(c *plugins.Ctx, b []byte, class byte) []byte {
	b = append(b, class)
	if k.isolated {
		at := len(b)
		if c.Consumer != nil {
			b = append(append(b, 'c'), c.Consumer.Def.Username...)
		} else if user, ok := k.remoteUser(c, append(b, 'u')); ok {
			b = user
		}
		b = part(b, at)
	}
	for i := range k.values {
		at := len(b)
		if v := &k.values[i]; v.app == nil {
			b = append(b, v.text...)
		} else {
			b, _ = v.app(c, b)
		}
		b = part(b, at)
	}
	// The upstream sees the path as it was sent. Where that is not the path that
	// stands in the key, two requests with one key could get different answers.
	if k.decoded {
		if path, _, _ := strings.Cut(c.Req.Target, "?"); path != c.Path {
			b = cache.AppendPart(b, path)
		}
	}
	return b
}

// part ends the part of a key that begins at.
func part(b []byte, at int) []byte {
	n := len(b) - at
	return append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// maxBody is how long the body of a POST may be for its response to be kept.
const maxBody = 1 << 20

// bodyOf is what the body of a request adds to its key. ok is false for
// requests whose response must not be kept, nor one be given: a GET with a body
// could ask for something that its key does not tell.
func bodyOf(c *plugins.Ctx) (hash string, ok bool, err error) {
	if c.Req.ContentLength == 0 {
		return "", true, nil
	}
	if c.Req.Method != "POST" {
		return "", false, nil
	}
	b, err := c.Body(maxBody)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	sum := sha256.Sum256(b)
	return string(sum[:16]), true, nil
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }
