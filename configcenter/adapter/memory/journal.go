package memory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"sluice/configcenter/adapter/mvcc"
)

// record is what one update changed: one line of the file.
type record struct {
	ID      uint64            `json:",omitempty"` // first record only: the store's
	Rev     int64             // of the store after the update
	Rows    []mvcc.Row        `json:",omitempty"`
	Compact *int64            `json:",omitempty"`
	Leases  []mvcc.Lease      `json:",omitempty"`
	Ended   []int64           `json:",omitempty"` // leases
	Notes   map[string][]byte `json:",omitempty"`
}

func (r *record) empty() bool {
	return len(r.Rows)+len(r.Leases)+len(r.Ended)+len(r.Notes) == 0 && r.Compact == nil
}

// Bounds of the file: it is written anew when it has grown to so many times
// what it was then, and is not a small one.
const (
	growth   = 4
	smallest = 4 << 20
)

// recordRows is how many rows a record of a file that is written anew has.
const recordRows = 1000

// journal is the file. Each line is a checksum and a record; an update counts
// from the moment its line is on the disk.
type journal struct {
	path string

	mu    sync.Mutex // one writer at a time
	f     *os.File
	size  int64 // of the good lines
	fresh int64 // size when it was written anew, or less
	bad   error // after a failure that leaves open what is on the disk: no more is written
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
	// How large the file was when it was written anew is not known; the rows are
	// somewhat less.
	s.log.fresh = min(s.log.size, s.bytes)
	return s, nil
}

// replay applies the file's records. A last line that is not whole was never
// acknowledged, and is cut off; any other bad line is an error.
func (s *Store) replay(f *os.File) error {
	in := bufio.NewReaderSize(f, 1<<20)
	compact := s.st.Compact
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil { // the last line was not finished, or there is none
			break
		}
		r, err := decode(line)
		if err != nil && torn(line, in) {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d at byte %d is damaged: %w", n, s.log.size, err)
		}
		s.apply(r)
		if r.Compact != nil {
			compact = *r.Compact
		}
		s.log.size += int64(len(line))
	}
	if compact > s.st.Compact {
		s.st.Compact = compact
		s.compact(compact)
	}
	if err := f.Truncate(s.log.size); err != nil {
		return err
	}
	_, err := f.Seek(s.log.size, io.SeekStart)
	return err
}

// torn says whether a bad line is the rest of a write that the machine did not
// finish: the last one, with a hole of zero bytes where a block is missing.
func torn(line []byte, rest *bufio.Reader) bool {
	if !bytes.ContainsRune(line, 0) {
		return false
	}
	_, err := rest.Peek(1)
	return err != nil
}

// apply does what an update did. Old rows stay until all is read.
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
	for name, value := range r.Notes {
		t.PutNote(name, value)
	}
	s.st.Rev = r.Rev
}

// everything is the store as records. s.mu is held meanwhile.
func (s *Store) everything() iter.Seq[*record] {
	return func(yield func(*record) bool) {
		r := &record{ID: s.id, Rev: 1, Notes: s.notes}
		for _, l := range s.leases {
			r.Leases = append(r.Leases, l.Lease)
		}
		if !yield(r) {
			return
		}
		for rows := s.rows; len(rows) > 0; {
			n := min(recordRows, len(rows))
			if !yield(&record{Rev: rows[n-1].Rev, Rows: rows[:n]}) {
				return
			}
			rows = rows[n:]
		}
		yield(&record{Rev: s.st.Rev, Compact: &s.st.Compact})
	}
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

// write appends the lines and returns when they are on the disk. j.mu is held.
func (j *journal) write(lines []byte) error {
	if j.bad != nil {
		return j.bad
	}
	if _, err := j.f.Write(lines); err != nil {
		// The file is cut back to what was acknowledged: a disk that was full
		// may have room again.
		_, e := j.f.Seek(j.size, io.SeekStart)
		if e = errors.Join(e, j.f.Truncate(j.size)); e != nil {
			j.bad = err
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", mvcc.ErrNoSpace, err)
		}
		return err
	}
	if err := j.f.Sync(); err != nil {
		j.bad = fmt.Errorf("%s may not be whole since an earlier error; start again: %w", j.path, err)
		return err
	}
	j.size += int64(len(lines))
	return nil
}

// replace puts a file with these records in the place of the present one.
// j.mu is held.
func (j *journal) replace(records iter.Seq[*record]) error {
	f, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size, err := fill(f, records)
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil { // what there is of it might take the last space
		return errors.Join(err, f.Close(), os.Remove(j.path+".new"))
	}
	j.f.Close() // nothing is in it that counts
	j.f, j.size, j.fresh = f, size, size
	j.bad = syncDir(filepath.Dir(j.path)) // else the old file may come back
	return j.bad
}

// fill locks the file and writes the records, to the disk.
func fill(f *os.File, records iter.Seq[*record]) (size int64, err error) {
	if err := lock(f); err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	for r := range records {
		line, err := encode(r)
		if err != nil {
			return 0, err
		}
		if _, err := out.Write(line); err != nil {
			return 0, err
		}
		size += int64(len(line))
	}
	return size, errors.Join(out.Flush(), f.Sync())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}
