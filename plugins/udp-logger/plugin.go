// Package udplogger sends a log entry of each request over UDP, in batches.
package udplogger

import (
	"context"
	_ "embed"
	"fmt"
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

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	log, stop, err := batch.Log(env, &c.Config, c, entry.Entry, c.send, nil)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: log, Close: stop}, nil
}

func (c *config) send(ctx context.Context, entries [][]byte) error {
	conn, err := netout.Dial(ctx, "udp", c.Host, c.Port, time.Duration(c.Timeout)*time.Second)
	if err != nil {
		return fmt.Errorf("failed to connect to UDP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
	}
	defer conn.Close()
	if _, err := conn.Write(c.JSON(entries)); err != nil {
		return fmt.Errorf("failed to send data to UDP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
	}
	return nil
}
