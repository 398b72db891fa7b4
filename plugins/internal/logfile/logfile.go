// Package logfile appends lines to files for plugins: one writer for each
// path, however many instances name it. The request path never waits for the
// disk; a line is written as soon as the writer gets to it.
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

// File is one file. Its goroutine begins with the first line and is ended, when
// everything is written, by the last user's release.
type File struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	pending []byte
	lines   int // in pending
	reopen  bool
	running bool
	closed  bool

	wake    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64
}

// Open returns the file at path and its release. It is opened, and made when it
// is missing, with the first line.
func Open(shared *plugins.Shared, path string, log *slog.Logger) (*File, func()) {
	all, freeAll := openSet(shared)
	f, freeFile := plugins.Share(shared, "logfile/file/"+path, func() *File {
		f := &File{path: path, log: log, wake: make(chan struct{}, 1), done: make(chan struct{})}
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
		f.notify()
	}
}

// Write appends a line, without its line break, or drops it when the disk is
// too far behind.
func (f *File) Write(line []byte) {
	f.mu.Lock()
	switch {
	case f.closed || len(f.pending)+len(line) > maxPending:
		f.mu.Unlock()
		f.lost(1, "the disk is too slow")
		return
	case !f.running:
		f.running = true
		go f.run()
	}
	f.pending = append(append(f.pending, line...), '\n')
	f.lines++
	f.mu.Unlock()
	f.notify()
}

// Dropped is the number of lines that were lost.
func (f *File) Dropped() uint64 { return f.dropped.Load() }

func (f *File) lost(lines int, why string) {
	n := uint64(lines)
	if f.dropped.Add(n) == n { // the first; the rest is counted only
		f.log.Error("failed to write file: "+f.path+", error info: "+why, "lines", n)
	}
}

func (f *File) notify() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run owns the file.
func (f *File) run() {
	defer close(f.done)
	var file *os.File
	var spare []byte
	failing := false
	for {
		<-f.wake
		f.mu.Lock()
		text, lines, reopen, closed := f.pending, f.lines, f.reopen, f.closed
		f.pending, f.lines, f.reopen = spare[:0], 0, false
		f.mu.Unlock()
		if file != nil && (reopen || moved(file, f.path)) {
			_ = file.Close()
			file = nil
		}
		if len(text) > 0 {
			var err error
			if file, err = f.append(file, text, failing); err != nil {
				f.dropped.Add(uint64(lines))
			}
			failing = err != nil
		}
		if spare = text; cap(spare) > 1<<20 {
			spare = nil
		}
		if closed {
			if file != nil {
				_ = file.Close()
			}
			return
		}
	}
}

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
func (f *File) append(file *os.File, text []byte, quiet bool) (*os.File, error) {
	var err error
	if file == nil {
		if file, err = os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			if !quiet {
				f.log.Error("failed to open file: " + f.path + ", error info: " + err.Error())
			}
			return nil, err
		}
	}
	if _, err = file.Write(text); err != nil && !quiet {
		f.log.Error("failed to write file: " + f.path + ", error info: " + err.Error())
	}
	return file, err
}

func (f *File) close() {
	f.mu.Lock()
	f.closed = true
	running := f.running
	f.mu.Unlock()
	if running {
		f.notify()
		<-f.done
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
