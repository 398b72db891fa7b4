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
// JSON text; the objects in the order of kind and id (kind, id and value as
// texts, create and mod as varints), and an empty text after the last; the
// SHA-256 of all before. A text is its length as a uvarint, and its bytes.
const magic = "sluice last good configuration 2\n"

// header is the file's JSON text; unknown members are left for later versions.
type header struct {
	Prefix  string    `json:"prefix"`
	Cluster uint64    `json:"cluster,string"`
	Rev     int64     `json:"rev"`
	Written time.Time `json:"written"`
}

// maxText bounds one text in a file: etcd's own limit is far below.
const maxText = 256 << 20

var errDamaged = errors.New("the file is damaged")

// Write makes the file anew, in one step: readers see the old one or the new
// one. Only the owner may read it, for it holds secrets. The objects must be in
// the order of kind and id.
func Write(path string, v Version) error {
	e, err := create(path, v)
	if err != nil {
		return err
	}
	for _, c := range v.Changes {
		e.put(c)
	}
	return e.commit()
}

// encoder writes a file beside the one it will replace.
type encoder struct {
	path  string
	file  *os.File
	sum   hash.Hash
	w     *writer
	count int
}

// tidy removes what writers left behind that were killed.
func (s *Source) tidy() {
	left, _ := filepath.Glob(s.path + tempPattern) // the pattern is good
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > abandoned {
			os.Remove(name) // else the next run tries
		}
	}
}

// Files that are being written: how they are called, and how long none takes.
const (
	tempPattern = ".*.tmp"
	abandoned   = time.Hour
)

// create begins a file with the header of v. It must be committed or dropped.
func create(path string, v Version) (*encoder, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempPattern) // made with mode 0600
	if err != nil {
		return nil, err
	}
	e := &encoder{path: path, file: f, sum: sha256.New()}
	e.w = &writer{Writer: bufio.NewWriterSize(io.MultiWriter(f, e.sum), 64<<10)}
	e.w.bytes([]byte(magic))
	head, err := json.Marshal(header{v.Prefix, v.Cluster, v.Rev, v.Written})
	if err != nil {
		e.drop()
		return nil, err
	}
	e.w.text(head)
	return e, nil
}

func (e *encoder) put(c configcenter.Change) {
	e.count++
	e.w.text([]byte(c.Kind))
	e.w.text([]byte(c.ID))
	e.w.text(c.Value)
	e.w.number(c.Create)
	e.w.number(c.Mod)
}

// commit puts the file in its place.
func (e *encoder) commit() error {
	err := e.finish()
	if err == nil {
		err = os.Rename(e.file.Name(), e.path)
	}
	if err != nil {
		e.drop()
		return fmt.Errorf("%s: %w", e.path, err)
	}
	return nil
}

func (e *encoder) finish() error {
	e.w.text(nil)
	if e.w.err == nil {
		e.w.err = e.w.Flush()
	}
	if e.w.err != nil {
		return e.w.err
	}
	if _, err := e.file.Write(e.sum.Sum(nil)); err != nil {
		return err
	}
	if err := e.file.Sync(); err != nil {
		return err
	}
	return e.file.Close()
}

func (e *encoder) drop() {
	e.file.Close() // after a first error this one says nothing more
	os.Remove(e.file.Name())
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
	var all []configcenter.Change
	v, err := readEach(path, func(c configcenter.Change) { all = append(all, c) })
	v.Changes = all
	if err != nil {
		return Version{}, err
	}
	return v, nil
}

// readEach hands over the objects of a file one by one; whether they are worth
// anything is only known at the end.
func readEach(path string, take func(configcenter.Change)) (Version, error) {
	f, err := os.Open(path)
	if err != nil {
		return Version{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Version{}, err
	}
	v, err := decode(f, info.Size(), take)
	if err != nil {
		return Version{}, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func decode(from io.Reader, size int64, take func(configcenter.Change)) (Version, error) {
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
	for {
		kind := r.text()
		if len(kind) == 0 {
			break
		}
		c := configcenter.Change{Kind: kindOf(kind), ID: string(r.text()), Value: r.text()}
		c.Create, c.Mod = r.number(), r.number()
		if r.err != nil {
			return Version{}, errDamaged
		}
		take(c)
	}
	return Version{Prefix: h.Prefix, Cluster: h.Cluster, Rev: h.Rev, Written: h.Written}, r.finish(from, sum)
}

// kindOf does not make a text of its own for every object.
func kindOf(name []byte) resource.Kind {
	if info := resource.Of(resource.Kind(name)); info != nil {
		return info.Kind
	}
	return resource.Kind(name)
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
