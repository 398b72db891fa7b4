// Package syslog sends a log entry of each request to a syslog server, as
// messages of RFC 5424.
package syslog

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/batch"
	"sluice/plugins/internal/logentry"
	"sluice/plugins/internal/netout"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is syslog.
var Plugin = plugins.Spec{
	Name:     "syslog",
	Priority: 401,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	Host       string `json:"host"`
	Port       int    `json:"port"`
	FlushLimit int    `json:"flush_limit"` // bytes
	DropLimit  int    `json:"drop_limit"`  // bytes
	Timeout    int    `json:"timeout"`     // milliseconds
	SockType   string `json:"sock_type"`
	PoolSize   int    `json:"pool_size"`
	TLS        bool   `json:"tls"`
	logentry.Options
	batch.Config
}

type logger struct {
	entry *logentry.Log
	now   func() time.Time
	tail  string // of the header: program and process
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	l := &logger{entry, env.Now, " apisix " + strconv.Itoa(os.Getpid()) + " - - "}
	log, stop, err := batch.Log(env, &c.Config, c, l.message, c.sender(env.Log), nil)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: log, Close: stop}, nil
}

// timestamp is the layout of the time in a message.
const timestamp = "2006-01-02T15:04:05.000Z"

// message is one of facility SYSLOG and severity INFO; its host is the one
// that the client asked for.
func (l *logger) message(c *plugins.Ctx) []byte {
	b := append(c.Scratch(), "<46>1 "...)
	b = l.now().UTC().AppendFormat(b, timestamp)
	b = append(b, ' ')
	b = append(b, c.Var("host")...)
	b = append(b, l.tail...)
	return slices.Concat(b, l.entry.Entry(c), []byte{'\n'})
}

// sender opens a connection for each batch: on a kept one nobody would notice
// that the server is gone until a batch is lost. A datagram holds one message.
func (c *config) sender(log *slog.Logger) batch.Send {
	return func(ctx context.Context, messages [][]byte) error {
		if !slices.ContainsFunc(messages, c.fits) {
			return nil
		}
		conn, err := netout.Dial(ctx, c.SockType, c.Host, c.Port, time.Duration(c.Timeout)*time.Millisecond)
		if err != nil {
			return fmt.Errorf("failed to log message: %w", err)
		}
		defer conn.Close()
		if c.TLS && c.SockType == "tcp" {
			// As in APISIX, the certificate is not verified.
			conn = tls.Client(conn, &tls.Config{ServerName: c.Host, InsecureSkipVerify: true})
		}
		for i, m := range messages {
			if !c.fits(m) {
				continue
			}
			_, err := conn.Write(m)
			switch {
			case errors.Is(err, syscall.EMSGSIZE):
				log.Error("failed to log message: too long for a datagram", "bytes", len(m))
			case err != nil:
				return &batch.PartialError{Done: i, Err: fmt.Errorf("failed to log message: %w", err)}
			}
		}
		if secured, ok := conn.(*tls.Conn); ok {
			return secured.CloseWrite()
		}
		return nil
	}
}

func (c *config) fits(message []byte) bool { return len(message) <= c.DropLimit }
