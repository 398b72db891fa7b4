package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/auth"
	"sluice/configcenter/adapter/mvcc"
)

// snapshotPiece is how much of a snapshot one message has.
const snapshotPiece = 32 << 10

// history goes through the rows up to a revision in the order in which they
// were written, without those that a compaction made superfluous, whether the
// store has dropped them yet or not.
func history(tx mvcc.Tx, to int64) iter.Seq2[mvcc.Row, error] {
	return func(yield func(mvcc.Row, error) bool) {
		compact := tx.State().Compact
		last := map[string]mvcc.Row{} // of each key, before the compaction
		for r, err := range rows(tx, 0, compact) {
			if err != nil {
				yield(r, err)
				return
			}
			last[string(r.Key)] = mvcc.Row{Rev: r.Rev, Sub: r.Sub}
		}
		for r, err := range rows(tx, 0, to) {
			l := last[string(r.Key)]
			if err == nil && r.Rev <= compact && (r.Deleted || l.Rev != r.Rev || l.Sub != r.Sub) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// rows reads all rows above a revision, up to another.
func rows(tx mvcc.Tx, after, to int64) iter.Seq2[mvcc.Row, error] {
	return func(yield func(mvcc.Row, error) bool) {
		for after < to {
			page, err := tx.Since(after)
			if err != nil {
				yield(mvcc.Row{}, err)
				return
			}
			for _, r := range page {
				if r.Rev > to || !yield(r, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
			after = page[len(page)-1].Rev
		}
	}
}

// kept is a row as etcd keeps it in its file: key and value.
func kept(r *mvcc.Row) (key, value []byte, err error) {
	key = binary.BigEndian.AppendUint64(make([]byte, 0, 18), uint64(r.Rev))
	key = append(key, '_')
	key = binary.BigEndian.AppendUint64(key, uint64(r.Sub))
	kv := &mvccpb.KeyValue{Key: r.Key}
	if r.Deleted {
		key = append(key, 't')
	} else {
		kv = pair(r)
	}
	value, err = proto.MarshalOptions{Deterministic: true}.Marshal(kv)
	return key, value, err
}

// HashKV is what an etcd with the same history answers.
func (m maintenance) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	resp := new(pb.HashKVResponse)
	err := m.s.freeze(ctx, func(tx mvcc.Tx) error {
		t := newRun(tx, nil)
		if err := first(m.s.permit(ctx, tx, (*caller).admin), t.readable(r.Revision)); err != nil {
			return err
		}
		rev := r.Revision
		if rev <= 0 {
			rev = t.rev()
		}
		resp.Header, resp.HashRevision, resp.CompactRevision = m.s.header(t.rev()), rev, t.st.Compact
		var err error
		resp.Hash, err = sum(tx, rev)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// sum is etcd's checksum of its keys up to a revision. Of what is older than
// the compaction it has only what is seen at that revision, if an etcd would
// keep anything when it was compacted there.
func sum(tx mvcc.Tx, rev int64) (uint32, error) {
	type place struct{ rev, sub int64 }
	seen := map[place]bool{}
	now, err := tx.Range(mvcc.Span{Open: true}, rev, 0, false)
	if err != nil {
		return 0, err
	}
	ended, err := endedAt(tx, rev)
	if err != nil {
		return 0, err
	}
	keeps := false
	for i := range now {
		seen[place{now[i].Rev, now[i].Sub}] = true
		keeps = keeps || !ended[string(now[i].Key)]
	}
	compact := tx.State().Compact
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	sum.Write([]byte("key")) // the name of etcd's bucket
	for row, err := range history(tx, rev) {
		if err != nil {
			return 0, err
		}
		if row.Rev <= compact && keeps && !seen[place{row.Rev, row.Sub}] {
			continue
		}
		k, v, err := kept(&row)
		if err != nil {
			return 0, err
		}
		sum.Write(k)
		sum.Write(v)
	}
	return sum.Sum32(), nil
}

// endedAt returns the keys that a revision deleted. An etcd that looks for what a
// compaction there would keep finds their ends, and not that the same revision
// put some of them again.
func endedAt(tx mvcc.Tx, rev int64) (map[string]bool, error) {
	ended := map[string]bool{}
	for row, err := range rows(tx, rev-1, rev) {
		if err != nil {
			return nil, err
		}
		if row.Deleted {
			ended[string(row.Key)] = true
		}
	}
	return ended, nil
}

// Hash is that of the keys, as there is nothing else that all stores have.
func (m maintenance) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	h, err := m.HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: h.Header, Hash: h.Hash}, nil
}

// Snapshot sends a file from which a real etcd can be made, with all
// revisions, leases and users.
func (m maintenance) Snapshot(_ *pb.SnapshotRequest, out pb.Maintenance_SnapshotServer) error {
	ctx := out.Context()
	if _, err := m.s.allowed(ctx, (*caller).admin); err != nil {
		return err
	}
	f, err := os.CreateTemp("", "sluice-snapshot-*")
	if err != nil {
		return m.s.fault(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	err = m.s.freeze(ctx, func(tx mvcc.Tx) error { return m.s.save(ctx, f.Name(), tx) })
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return m.s.fault(err)
	}
	sum := sha256.New()
	for left := size; left > 0; {
		piece := make([]byte, min(left, snapshotPiece)) // Send keeps it
		if _, err := io.ReadFull(f, piece); err != nil {
			return m.s.fault(err)
		}
		sum.Write(piece)
		left -= int64(len(piece))
		if err := out.Send(&pb.SnapshotResponse{RemainingBytes: uint64(left), Blob: piece}); err != nil {
			return err
		}
	}
	return out.Send(&pb.SnapshotResponse{Blob: sum.Sum(nil)})
}

// buckets are those of an etcd's file.
var buckets = []string{"key", "meta", "lease", "alarm", "cluster", "members", "members_removed", "auth", "authUsers", "authRoles"}

// save makes an etcd's file of the store, unless ctx ends.
func (s *Server) save(ctx context.Context, path string, tx mvcc.Tx) error {
	rules, err := s.rules(tx)
	if err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.Update(func(b *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := b.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return first(saveState(b, tx), saveRules(b, rules))
	})
	if err == nil {
		err = saveRows(ctx, db, tx)
	}
	return first(err, db.Close())
}

func saveState(b *bolt.Tx, tx mvcc.Tx) error {
	if rev := tx.State().Compact; rev > 0 {
		key := append(binary.BigEndian.AppendUint64(nil, uint64(rev)), "_\x00\x00\x00\x00\x00\x00\x00\x00"...)
		meta := b.Bucket([]byte("meta"))
		if err := first(meta.Put([]byte("scheduledCompactRev"), key), meta.Put([]byte("finishedCompactRev"), key)); err != nil {
			return err
		}
	}
	ls, err := tx.Leases(0)
	if err != nil {
		return err
	}
	for _, l := range ls {
		ttl := int64(l.TTL / time.Second)
		v, err := proto.Marshal(&leasepb.Lease{ID: l.ID, TTL: ttl})
		if err == nil {
			err = b.Bucket([]byte("lease")).Put(binary.BigEndian.AppendUint64(nil, uint64(l.ID)), v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func saveRules(b *bolt.Tx, r *auth.Rules) error {
	on := []byte{0}
	if r.On {
		on[0] = 1
	}
	a := b.Bucket([]byte("auth"))
	err := first(a.Put([]byte("authEnabled"), on), a.Put([]byte("authRevision"), binary.BigEndian.AppendUint64(nil, r.Revision)))
	for name, u := range r.Users {
		v, e := proto.Marshal(u)
		err = first(err, e, b.Bucket([]byte("authUsers")).Put([]byte(name), v))
	}
	for name, o := range r.Roles {
		v, e := proto.Marshal(o)
		err = first(err, e, b.Bucket([]byte("authRoles")).Put([]byte(name), v))
	}
	return err
}

// saveRows writes in transactions of bounded size: a page of changes is kept
// in memory until its transaction ends.
func saveRows(ctx context.Context, db *bolt.DB, tx mvcc.Tx) error {
	const many = 10000
	next, stop := iter.Pull2(history(tx, tx.State().Rev))
	defer stop()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := db.Update(func(b *bolt.Tx) error {
			keys := b.Bucket([]byte("key"))
			keys.FillPercent = 0.9 // they come in order
			for range many {
				row, err, ok := next()
				if more = ok; !ok {
					return nil
				}
				if err != nil {
					return err
				}
				k, v, err := kept(&row)
				if err == nil {
					err = keys.Put(k, v)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
