package requestid

import (
	crand "crypto/rand"
	"math/rand/v2"

	"github.com/google/uuid"
	"github.com/segmentio/ksuid"
)

// generator makes ids by the configured algorithm.
func generator(c *config) func(dst []byte) []byte {
	switch c.Algorithm {
	case "nanoid":
		return nano
	case "range_id":
		return c.RangeID.generate
	case "ksuid":
		return func(dst []byte) []byte { return ksuid.New().Append(dst) }
	case "uuidv7":
		return func(dst []byte) []byte { return appendUUID(dst, uuid.Must(uuid.NewV7())) }
	}
	return func(dst []byte) []byte { return appendUUID(dst, random()) }
}

// random is a version 4 UUID. Ids are no secrets: the process's generator is
// as good as the system's, without a call of it for each request.
func random() (id uuid.UUID) {
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[i], id[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func appendUUID(dst []byte, id uuid.UUID) []byte {
	const digits = "0123456789abcdef"
	for i, x := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, digits[x>>4], digits[x&15])
	}
	return dst
}

func nano(dst []byte) []byte {
	const alphabet = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	start := len(dst)
	dst = append(dst, make([]byte, 21)...)
	crand.Read(dst[start:]) // it does not fail
	for i := start; i < len(dst); i++ {
		dst[i] = alphabet[dst[i]&63]
	}
	return dst
}

func (r *rangeID) generate(dst []byte) []byte {
	for range r.Length {
		dst = append(dst, r.CharSet[rand.IntN(len(r.CharSet))])
	}
	return dst
}
