package memory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"sluice/configcenter/adapter/mvcc"
)

// record is what one update changed: one line of the file.
type record struct {
	ID      uint64       `json:",omitempty"` // first record only: the store's
	Rev     int64        // of the store after the update
	Rows    []mvcc.Row   `json:",omitempty"`
	Compact *int64       `json:",omitempty"`
	Leases  []mvcc.Lease `json:",omitempty"`
	Ended   []int64      `json:",omitempty"` // leases
}

func (r *record) empty() bool {
	return len(r.Rows)+len(r.Leases)+len(r.Ended) == 0 && r.Compact == nil
}

// journal is the file. Each line is a checksum and a record; an update counts
// from the moment its line is on the disk.
type journal struct {
	path string
	f    *os.File
	size int64 // of the good lines
	bad  error // a failed write that could not be taken back; no more are made
}

// Open reads the store that is in the file, and makes the file if there is
// none. One process at a time may have it open.
func Open(path string) (*Store, error) {
	s := New()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s.log = &journal{path: path, f: f}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is in use: %w", path, err)
	}
	err = s.replay(f)
	if err == nil && s.log.size == 0 {
		err = s.log.replace(s.everything())
	}
	if err != nil {
		s.log.f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// replay applies the file's records. A last line that is not whole was never
// acknowledged, and is cut off; a bad line before others is an error.
func (s *Store) replay(f *os.File) error {
	in := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r, err := decode(line)
		if err != nil {
			if _, more := in.ReadByte(); more == nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			break
		}
		s.apply(r)
		s.log.size += int64(len(line))
	}
	if err := f.Truncate(s.log.size); err != nil {
		return err
	}
	_, err := f.Seek(s.log.size, io.SeekStart)
	return err
}

func (s *Store) apply(r *record) {
	if r.ID != 0 {
		s.id = r.ID
	}
	t := &tx{s: s}
	for _, l := range r.Leases {
		t.PutLease(l) // cannot fail, nor can the others
	}
	for _, row := range r.Rows {
		t.Append(row)
	}
	for _, id := range r.Ended {
		t.DeleteLease(id)
	}
	s.st.Rev = r.Rev
	if r.Compact != nil {
		s.compact(*r.Compact)
	}
}

// everything is the store as one record.
func (s *Store) everything() *record {
	r := &record{ID: s.id, Rev: s.st.Rev, Rows: s.rows, Compact: &s.st.Compact}
	for _, l := range s.leases {
		r.Leases = append(r.Leases, l.Lease)
	}
	return r
}

func encode(r *record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

func decode(line []byte) (*record, error) {
	sum, text, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if want, err := strconv.ParseUint(string(sum), 16, 32); !ok || err != nil || uint32(want) != crc32.ChecksumIEEE(text) {
		return nil, errors.New("the checksum is wrong")
	}
	r := new(record)
	return r, json.Unmarshal(text, r)
}

// write appends the record and returns when it is on the disk.
func (j *journal) write(r *record) error {
	if j.bad != nil {
		return j.bad
	}
	line, err := encode(r)
	if err != nil {
		return err
	}
	if _, err = j.f.Write(line); err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		// What is in the file now is not known. It is cut back to what was
		// acknowledged, or else nothing may follow it.
		if _, e := j.f.Seek(j.size, io.SeekStart); e != nil {
			j.bad = err
		} else if e := j.f.Truncate(j.size); e != nil {
			j.bad = err
		}
		return err
	}
	j.size += int64(len(line))
	return nil
}

// replace puts a file with this one record in the place of the present one.
func (j *journal) replace(r *record) error {
	line, err := encode(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = lock(f)
	if err == nil {
		_, err = f.Write(line)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := j.f
	j.f, j.size = f, int64(len(line))
	return errors.Join(old.Close(), syncDir(filepath.Dir(j.path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *journal) close() error { return j.f.Close() }
