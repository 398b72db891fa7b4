// Package logfile appends lines to files for plugins: one writer for each
// path at a time, however many instances name it. A line is written at once, or
// by whoever is writing already.
//
// It does not know what the lines say.
package logfile

import (
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"sluice/plugins"
)

// maxPending is how many bytes may wait for the disk, of one file.
const maxPending = 16 << 20

// File is one file. Who finds nobody writing writes the lines that have come
// until then; a goroutine goes on when there are more by the end of that.
type File struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	idle    sync.Cond // writing has become false
	pending []byte
	lines   int // in pending
	reopen  bool
	behind  bool // lines were dropped since somebody began to write
	closed  bool
	writing bool // somebody is, and owns the fields below

	file    *os.File
	spare   []byte
	failing bool

	dropped atomic.Uint64
}

// Open returns the file at path and its release. It is opened, and made when it
// is missing, with the first line.
func Open(shared *plugins.Shared, path string, log *slog.Logger) (*File, func()) {
	all, freeAll := openSet(shared)
	f, freeFile := plugins.Share(shared, "logfile/file/"+path, func() *File {
		f := newFile(path, log)
		all.add(f)
		return f
	}, func(f *File) {
		f.close()
		all.remove(f)
	})
	return f, func() { freeFile(); freeAll() }
}

// Reopen makes every open file be opened anew before its next line, for those
// who moved the old one away.
func Reopen(shared *plugins.Shared) {
	all, release := openSet(shared)
	defer release()
	all.mu.Lock()
	defer all.mu.Unlock()
	for f := range all.files {
		f.mu.Lock()
		f.reopen = true
		f.mu.Unlock()
	}
}

func newFile(path string, log *slog.Logger) *File {
	f := &File{path: path, log: log}
	f.idle.L = &f.mu
	return f
}

// Write appends a line, without its line break, or drops it when the disk is
// too far behind. It waits for the disk only when nobody else does.
func (f *File) Write(line []byte) {
	f.mu.Lock()
	if f.closed || len(f.pending)+len(line) > maxPending {
		why := "the disk is too slow"
		if f.closed {
			why = "it is closed"
		}
		first := !f.behind
		f.behind = true
		f.mu.Unlock()
		f.dropped.Add(1)
		if first { // the rest is counted only
			f.log.Error("failed to write file: " + f.path + ", error info: " + why)
		}
		return
	}
	f.pending = append(append(f.pending, line...), '\n')
	f.lines++
	if f.writing {
		f.mu.Unlock()
		return
	}
	f.writing = true
	f.mu.Unlock()
	if f.flush() {
		go func() {
			for f.flush() {
			}
		}()
	}
}

// flush writes what is pending. It reports whether more has come meanwhile;
// else nobody is writing any more.
func (f *File) flush() (more bool) {
	f.mu.Lock()
	text, lines, reopen := f.pending, f.lines, f.reopen
	f.pending, f.lines, f.reopen = f.spare[:0], 0, false
	f.mu.Unlock()
	if f.file != nil && (reopen || moved(f.file, f.path)) {
		_ = f.file.Close()
		f.file = nil
	}
	if err := f.append(text); err != nil {
		f.dropped.Add(uint64(lines))
		f.failing = true
	} else {
		f.failing = false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spare = text; cap(text) > 1<<20 {
		f.spare = nil
	}
	if len(f.pending) > 0 {
		return true
	}
	f.writing, f.behind = false, false
	f.idle.Broadcast()
	return false
}

// Dropped is the number of lines that were lost.
func (f *File) Dropped() uint64 { return f.dropped.Load() }

// moved says that path is no longer file, so that one that was moved or removed
// without a word is not written to for ever.
func moved(file *os.File, path string) bool {
	was, err := file.Stat()
	if err != nil {
		return true
	}
	is, err := os.Stat(path)
	return err != nil || !os.SameFile(was, is)
}

// append writes text in one piece. An error is logged unless the time before
// went wrong, too.
func (f *File) append(text []byte) error {
	what := "open"
	var err error
	if f.file == nil {
		f.file, err = os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err == nil {
		what = "write"
		_, err = f.file.Write(text)
	} else {
		f.file = nil
	}
	if err != nil && !f.failing {
		f.log.Error("failed to " + what + " file: " + f.path + ", error info: " + err.Error())
	}
	return err
}

// close ends the file when everything is written.
func (f *File) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for f.writing {
		f.idle.Wait()
	}
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}

// set is all open files of a process.
type set struct {
	mu    sync.Mutex
	files map[*File]struct{}
}

func openSet(shared *plugins.Shared) (*set, func()) {
	return plugins.Share(shared, "logfile/all", func() *set { return &set{files: map[*File]struct{}{}} }, nil)
}

func (s *set) add(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[f] = struct{}{}
}

func (s *set) remove(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, f)
}
