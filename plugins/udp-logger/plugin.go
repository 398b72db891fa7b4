// Package udplogger sends a log entry of each request over UDP, in batches.
package udplogger

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"strconv"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/batch"
	"sluice/plugins/internal/logentry"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is udp-logger.
var Plugin = plugins.Spec{
	Name:     "udp-logger",
	Priority: 400,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	Timeout int    `json:"timeout"` // seconds
	logentry.Options
	batch.Config
}

type logger struct {
	entry *logentry.Log
	queue *batch.Queue
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	queue, closeQueue, err := batch.Open(env, &c.Config, c, c.send)
	if err != nil {
		return plugins.Phases{}, err
	}
	l := &logger{entry, queue}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: l.log, Close: closeQueue}, nil
}

func (l *logger) log(c *plugins.Ctx) { l.queue.Push(c, l.entry.Entry(c)) }

func (c *config) send(ctx context.Context, entries [][]byte) error {
	limit := time.Duration(c.Timeout) * time.Second
	d := net.Dialer{Timeout: limit}
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("failed to connect to UDP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := conn.Write(c.JSON(entries)); err != nil {
		return fmt.Errorf("failed to send data to UDP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
	}
	return nil
}
