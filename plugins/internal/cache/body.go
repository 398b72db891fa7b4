package cache

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
)

// Open returns n bytes of the body of e, beginning at from: as bytes when they
// are at hand, else as a reader that the caller closes. An entry whose file is
// gone or damaged leaves the zone.
func (z *Zone) Open(e *Entry, from, n int64) (b []byte, r io.ReadCloser, err error) {
	if e.file == "" {
		return e.body[from : from+n : from+n], nil, nil
	}
	if b, r, err = e.open(from, n); err != nil {
		z.Drop(e)
		return nil, nil, err
	}
	if f, ok := r.(*fileBody); ok {
		f.z = z
	}
	return b, r, nil
}

func (e *Entry) open(from, n int64) ([]byte, io.ReadCloser, error) {
	f, size, err := openOwn(e.file)
	if err != nil {
		return nil, nil, err
	}
	head, err := readHead(f)
	if err != nil || binary.BigEndian.Uint32(head[12:]) != e.sum || size != int64(len(head))+e.Length {
		f.Close()
		return nil, nil, errDamaged
	}
	want := binary.BigEndian.Uint32(head[16:])
	if e.Length > inOneGo {
		whole := n == e.Length
		return nil, &fileBody{e: e, f: f, at: int64(len(head)) + from, left: n, check: whole, want: want}, nil
	}
	defer f.Close()
	b := make([]byte, e.Length)
	if _, err := f.ReadAt(b, int64(len(head))); err != nil || crc32.Checksum(b, table) != want {
		return nil, nil, errDamaged
	}
	return b[from : from+n], nil, nil
}

// fileBody reads a body that is too long to be checked before it is sent. When
// it turns out to be damaged the client gets the end of it cut off rather than
// something that looks complete, and the entry leaves the zone.
type fileBody struct {
	z        *Zone
	e        *Entry
	f        *os.File
	at, left int64
	check    bool
	sum      uint32
	want     uint32
}

func (b *fileBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.f.ReadAt(p[:min(int64(len(p)), b.left)], b.at)
	b.at += int64(n)
	b.left -= int64(n)
	if b.check {
		b.sum = crc32.Update(b.sum, table, p[:n])
	}
	switch {
	case b.left > 0 && err != nil, b.left == 0 && b.check && b.sum != b.want:
		b.z.Drop(b.e)
		return 0, errDamaged
	case b.left == 0:
		return n, io.EOF
	}
	return n, nil
}

func (b *fileBody) Close() error { return b.f.Close() }
