package lastgood

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// Version is what a file holds.
type Version struct {
	Prefix  string
	Cluster uint64
	Rev     int64
	Written time.Time
	Changes []configcenter.Change
}

// The file: the magic line, which names the format's version; the header as a
// JSON text; the objects (kind, id and value as texts, create and mod as
// varints); the SHA-256 of all before. A text is its length as a uvarint, and
// its bytes.
const magic = "sluice last good configuration 1\n"

// header is the file's JSON text; unknown members are left for later versions.
type header struct {
	Prefix  string    `json:"prefix"`
	Cluster uint64    `json:"cluster,string"`
	Rev     int64     `json:"rev"`
	Written time.Time `json:"written"`
	Objects int       `json:"objects"`
}

// maxText bounds one text in a file: etcd's own limit is far below.
const maxText = 256 << 20

var errDamaged = errors.New("the file is damaged")

// Write makes the file anew, in one step: readers see the old one or the new
// one. Only the owner may read it, for it holds secrets.
func Write(path string, v Version) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
			f.Close() // after a first error this one says nothing more
			os.Remove(f.Name())
		}
	}()
	if err = encode(f, v); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func encode(to io.Writer, v Version) error {
	sum := sha256.New()
	w := &writer{Writer: bufio.NewWriterSize(io.MultiWriter(to, sum), 64<<10)}
	w.bytes([]byte(magic))
	head, err := json.Marshal(header{v.Prefix, v.Cluster, v.Rev, v.Written, len(v.Changes)})
	if err != nil {
		return err
	}
	w.text(head)
	for _, c := range v.Changes {
		w.text([]byte(c.Kind))
		w.text([]byte(c.ID))
		w.text(c.Value)
		w.number(c.Create)
		w.number(c.Mod)
	}
	if w.err == nil {
		w.err = w.Flush()
	}
	if w.err == nil {
		_, w.err = to.Write(sum.Sum(nil))
	}
	return w.err
}

// writer keeps the first error.
type writer struct {
	*bufio.Writer
	err error
}

func (w *writer) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.Write(b)
	}
}

func (w *writer) text(b []byte) {
	w.bytes(binary.AppendUvarint(w.AvailableBuffer(), uint64(len(b))))
	w.bytes(b)
}

func (w *writer) number(n int64) { w.bytes(binary.AppendVarint(w.AvailableBuffer(), n)) }

// Read reads a file. One that is not whole, to the last byte, is an error.
func Read(path string) (Version, error) {
	f, err := os.Open(path)
	if err != nil {
		return Version{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Version{}, err
	}
	v, err := decode(f, info.Size())
	if err != nil {
		return Version{}, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func decode(from io.Reader, size int64) (Version, error) {
	body := size - sha256.Size
	if body < int64(len(magic)) {
		return Version{}, errDamaged
	}
	sum := sha256.New()
	r := &reader{r: bufio.NewReaderSize(io.TeeReader(io.LimitReader(from, body), sum), 64<<10), left: body}
	if start := r.bytes(uint64(len(magic))); !bytes.Equal(start, []byte(magic)) {
		return Version{}, errors.New("not a last good configuration of this version of sluice")
	}
	var h header
	if err := json.Unmarshal(r.text(), &h); err != nil {
		return Version{}, errDamaged
	}
	v := Version{Prefix: h.Prefix, Cluster: h.Cluster, Rev: h.Rev, Written: h.Written}
	for range h.Objects {
		c := configcenter.Change{Kind: resource.Kind(r.text()), ID: string(r.text()), Value: r.text()}
		c.Create, c.Mod = r.number(), r.number()
		if r.err != nil {
			return Version{}, errDamaged
		}
		v.Changes = append(v.Changes, c)
	}
	return v, r.finish(from, sum)
}

// reader keeps the first error.
type reader struct {
	r    *bufio.Reader
	left int64 // what can still come, at most
	err  error
}

func (r *reader) bytes(n uint64) []byte {
	if r.err != nil || n > maxText || int64(n) > r.left {
		r.err = errDamaged
		return nil
	}
	b := make([]byte, n)
	_, r.err = io.ReadFull(r.r, b)
	r.left -= int64(n)
	return b
}

func (r *reader) text() []byte {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		r.err = errDamaged
		return nil
	}
	return r.bytes(n)
}

func (r *reader) number() int64 {
	n, err := binary.ReadVarint(r.r)
	if err != nil {
		r.err = errDamaged
	}
	return n
}

// finish compares the checksum.
func (r *reader) finish(from io.Reader, sum hash.Hash) error {
	if _, err := r.r.ReadByte(); r.err != nil || err != io.EOF {
		return errDamaged
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(from, want); err != nil || !bytes.Equal(want, sum.Sum(nil)) {
		return errDamaged
	}
	return nil
}
