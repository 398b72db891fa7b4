package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A cache file is a prefix, the head of the entry, and the body:
//
//	magic 8 | length of head 4 | sum of head 4 | sum of body 4 | head | body
//
// Sums are CRC-32C, numbers big-endian. A file is written under another name,
// beside the folders, and put in its place when it is complete. Its name is the
// hash of the key and a random number: a file is never written twice, so that
// whoever removes an old entry cannot hit a new one.
const (
	prefix   = 20
	magic    = "sluicec1"
	maxHead  = 1 << 20
	nameSize = 32 + 1 + 16
	// inOneGo is up to which length a body is read, and checked, before it is sent.
	inOneGo   = 64 << 10
	blockSize = 4096 // by which the disk is used up
)

var table = crc32.MakeTable(crc32.Castagnoli)

// disk is the files of a zone.
type disk struct {
	z    *Zone
	ok   bool        // the folder is there
	cold atomic.Bool // files are still being found
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// open makes the folder and starts to look for files. The goroutine it starts
// ends with close.
func (d *disk) open() {
	if err := os.MkdirAll(d.z.o.Path, 0o700); err != nil {
		d.z.o.Log.Error("the cache cannot use its disk: nothing is cached", "zone", d.z.o.Name, "err", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.ok = true
	d.cold.Store(true)
	d.wg.Go(func() {
		d.load(ctx)
		d.cold.Store(false)
		d.tend(ctx)
	})
}

func (d *disk) close() {
	if d.ok {
		d.stop()
		d.wg.Wait()
	}
}

// sweepEvery is how often entries that nobody asks for are looked for.
const sweepEvery = time.Minute

func (d *disk) tend(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.z.sweep()
		}
	}
}

// leftAlone is how old a file must be that is not complete before it is taken
// for a leftover: it could be another gateway's.
const leftAlone = time.Hour

// load takes up the files of an earlier process.
func (d *disk) load(ctx context.Context) {
	found := 0
	err := filepath.WalkDir(d.z.o.Path, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || e.IsDir():
			return nil // a folder that went away, or cannot be read, has nothing for us
		case ownName(e.Name()):
			if d.take(path) {
				found++
			}
		case strings.HasSuffix(e.Name(), temporary) && ownName(strings.TrimSuffix(e.Name(), temporary)):
			if info, err := e.Info(); err == nil && d.z.o.Now().Sub(info.ModTime()) > leftAlone {
				_ = os.Remove(path) // if not now, then at the next start
			}
		}
		return nil
	})
	d.z.o.Log.Info("cache files found", "zone", d.z.o.Name, "files", found, "complete", err == nil)
}

func ownName(name string) bool {
	if len(name) != nameSize || name[32] != '.' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; i != 32 && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// take puts the entry of a file into the zone. A damaged file is removed.
func (d *disk) take(path string) bool {
	e, err := readEntry(path)
	switch {
	case errors.Is(err, errDamaged), err == nil && hashOf(e.key) != filepath.Base(path)[:32]:
		_ = os.Remove(path)
		return false
	case err != nil: // not ours, or gone
		return false
	case d.z.insert(e, nil):
		return true
	}
	d.drop(e)
	return false
}

// drop removes the file of an entry that was not taken up, unless it is the one
// that is in use already.
func (d *disk) drop(e *Entry) {
	p := d.z.partOf(e.key)
	p.mu.RLock()
	defer p.mu.RUnlock()
	if res := p.m[e.key]; res != nil {
		for _, other := range res.entries {
			if other.file == e.file {
				return
			}
		}
	}
	_ = os.Remove(e.file)
}

// warm takes up the files of key while not all files are known, and reports
// whether there were any.
func (d *disk) warm(key []byte) bool {
	hash := hashOf(string(key))
	folder := d.folder(hash)
	list, _ := os.ReadDir(folder) // no folder, no files
	found := false
	for _, f := range list {
		if strings.HasPrefix(f.Name(), hash) && ownName(f.Name()) {
			d.take(filepath.Join(folder, f.Name()))
			found = true
		}
	}
	return found
}

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// folder is where files of a hash lie, below folders named by its end.
func (d *disk) folder(hash string) string {
	path, end := d.z.o.Path, len(hash)
	for _, n := range d.z.o.Levels {
		path = filepath.Join(path, hash[end-n:end])
		end -= n
	}
	return path
}

func (d *disk) remove(list []*Entry) {
	for _, e := range list {
		if err := os.Remove(e.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.z.o.Log.Error("cache file not removed", "zone", d.z.o.Name, "err", err)
		}
	}
}

const temporary = ".tmp"

// create opens a file for e, to be named so by commit.
func (d *disk) create(e *Entry) (*os.File, error) {
	hash := hashOf(e.key)
	name := fmt.Sprintf("%s.%016x", hash, rand.Uint64())
	e.file = filepath.Join(d.folder(hash), name)
	return os.OpenFile(filepath.Join(d.z.o.Path, name+temporary), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// commit writes the head of e in front of the body and puts the file in its place.
func (d *disk) commit(f *os.File, e *Entry, bodySum uint32) error {
	head := e.appendHead(make([]byte, prefix, e.memory+prefix))
	copy(head, magic)
	binary.BigEndian.PutUint32(head[8:], uint32(len(head)-prefix))
	binary.BigEndian.PutUint32(head[16:], bodySum)
	e.sum = headSum(head)
	binary.BigEndian.PutUint32(head[12:], e.sum)
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err := os.Rename(f.Name(), e.file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(e.file), 0o700); err == nil {
			err = os.Rename(f.Name(), e.file)
		}
	}
	return err
}

// headSum is over the head and all of the prefix but the sum itself.
func headSum(b []byte) uint32 {
	return crc32.Update(crc32.Update(0, table, b[:12]), table, b[16:])
}

var (
	errForeign = errors.New("not a file of ours")
	errDamaged = errors.New("the cache file is damaged")
)

// readEntry reads the head of a file.
func readEntry(path string) (*Entry, error) {
	f, size, err := openOwn(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := readHead(f)
	if err != nil {
		return nil, err
	}
	e, err := parseHead(head[prefix:])
	if err != nil {
		return nil, err
	}
	if size != int64(len(head))+e.Length {
		return nil, errDamaged
	}
	e.file, e.sum = path, binary.BigEndian.Uint32(head[12:])
	e.memory, e.size = e.weigh(), blocks(size)
	return e, nil
}

// readHead reads prefix and head, and checks their sum.
func readHead(f io.ReaderAt) ([]byte, error) {
	var p [prefix]byte
	if _, err := f.ReadAt(p[:], 0); err != nil || string(p[:8]) != magic {
		return nil, errDamaged
	}
	n := binary.BigEndian.Uint32(p[8:])
	if n > maxHead {
		return nil, errDamaged
	}
	head := make([]byte, prefix+int(n))
	if _, err := f.ReadAt(head, 0); err != nil || headSum(head) != binary.BigEndian.Uint32(head[12:]) {
		return nil, errDamaged
	}
	return head, nil
}

func blocks(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }
