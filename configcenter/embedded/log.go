package embedded

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// core hands etcd's warnings and errors to a slog logger; what is less urgent
// is dropped.
type core struct {
	log      *slog.Logger
	fields   []zapcore.Field
	stopping *atomic.Bool // what is said now is about connections that end, and only for who looks closely
}

// zapTo makes the logger that etcd writes to. etcd's Panic and Fatal end the
// process as they would with its own logger, from whatever goroutine; the
// message before that is the last that anybody hears of the gateway.
func zapTo(log *slog.Logger, stopping *atomic.Bool) *zap.Logger {
	return zap.New(core{log: log.With("part", "etcd"), stopping: stopping})
}

func (c core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c core) With(f []zapcore.Field) zapcore.Core {
	c.fields = append(c.fields[:len(c.fields):len(c.fields)], f...)
	return c
}

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, f []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, field := range append(c.fields[:len(c.fields):len(c.fields)], f...) {
		field.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	level, message := slog.LevelWarn, e.Message
	switch {
	case e.Level >= zapcore.PanicLevel:
		level, message = slog.LevelError, "etcd cannot go on and ends this process: "+e.Message
	case c.stopping.Load():
		level = slog.LevelDebug
	case e.Level >= zapcore.ErrorLevel:
		level = slog.LevelError
	}
	c.log.LogAttrs(context.Background(), level, message, attrs...)
	return nil
}

func (c core) Sync() error { return nil }
