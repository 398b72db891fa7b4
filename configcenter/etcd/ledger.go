package etcd

import (
	"hash/maphash"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// ledger is what the reader has of every key below the prefix: its revision.
// Keys are known by their hash, which takes a fifth of the memory.
type ledger struct {
	seed maphash.Seed
	revs map[uint64]int64
	sum  uint64 // of the entries' digests, whatever their order
}

func newLedger() *ledger {
	return &ledger{seed: maphash.MakeSeed(), revs: map[uint64]int64{}}
}

func (l *ledger) hash(key []byte) uint64 { return maphash.Bytes(l.seed, key) }

// mix is the digest of one entry.
func mix(key uint64, rev int64) uint64 {
	x := key ^ uint64(rev)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (l *ledger) put(kv *mvccpb.KeyValue) {
	l.drop(kv.Key)
	key := l.hash(kv.Key)
	l.revs[key] = kv.ModRevision
	l.sum += mix(key, kv.ModRevision)
}

func (l *ledger) drop(key []byte) {
	h := l.hash(key)
	if rev, ok := l.revs[h]; ok {
		l.sum -= mix(h, rev)
		delete(l.revs, h)
	}
}

// highest is the newest revision of a key.
func (l *ledger) highest() int64 {
	var top int64
	for _, rev := range l.revs {
		top = max(top, rev)
	}
	return top
}
