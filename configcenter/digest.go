package configcenter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"sluice/configcenter/resource"
)

// Digest tells two versions apart: gateways that show the same digest serve the
// same objects, text for text and revision for revision. It is made when it is
// asked for, which takes some milliseconds for each ten thousand objects.
func (s *Snapshot) Digest() string {
	sum := sha256.New()
	var room [64]byte
	for _, info := range resource.Kinds {
		for item := range s.All(info.Kind) {
			b := append(room[:0], item.Key...)
			b = binary.AppendVarint(append(b, 0), item.Create)
			b = binary.AppendVarint(b, item.Mod)
			b = binary.AppendUvarint(b, uint64(len(item.Raw)))
			sum.Write(b)
			sum.Write(item.Raw)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}
