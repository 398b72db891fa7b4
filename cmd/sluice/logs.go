package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"sluice/conf"
)

// logFile is a log that can be opened anew under its name, for log rotation.
// Safe for concurrent use.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.reopen()
}

// reopen goes on in a new file of the name; the old one stays when that fails.
func (l *logFile) reopen() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(p)
}

// logger makes the process's log, and what reopens it (nil for stderr).
func logger(cfg *conf.Config, stderr io.Writer) (*slog.Logger, func() error, error) {
	w, reopen := stderr, func() error { return nil }
	switch path := cfg.Nginx.ErrorLog; path {
	case "stderr", "/dev/stderr", "":
	case "/dev/stdout", "stdout":
		w = os.Stdout
	default:
		f, err := openLog(path)
		if err != nil {
			return nil, nil, fmt.Errorf("nginx_config.error_log: %w", err)
		}
		w, reopen = f, f.reopen
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Sluice.Log.Level)); err != nil {
		return nil, nil, fmt.Errorf("sluice.log.level: %w", err)
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.Sluice.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), reopen, nil
	}
	return slog.New(slog.NewTextHandler(w, o)), reopen, nil
}
