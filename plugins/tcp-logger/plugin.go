// Package tcplogger sends a log entry of each request over TCP, in batches.
package tcplogger

import (
	"context"
	"crypto/tls"
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

// Plugin is tcp-logger.
var Plugin = plugins.Spec{
	Name:     "tcp-logger",
	Priority: 405,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	Host       string `json:"host"`
	Port       int    `json:"port"`
	TLS        bool   `json:"tls"`
	TLSOptions string `json:"tls_options"` // server name
	Timeout    int    `json:"timeout"`     // milliseconds
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

// send opens a connection for each batch: on a kept one nobody would notice
// that the server is gone until a batch is lost.
func (c *config) send(ctx context.Context, entries [][]byte) error {
	conn, err := netout.Dial(ctx, "tcp", c.Host, c.Port, time.Duration(c.Timeout)*time.Millisecond)
	if err != nil {
		return fmt.Errorf("failed to connect to TCP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
	}
	defer conn.Close()
	if c.TLS {
		// As in APISIX, the certificate is not verified.
		secured := tls.Client(conn, &tls.Config{ServerName: c.TLSOptions, InsecureSkipVerify: true})
		if err := secured.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("failed to perform TLS handshake to TCP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
		}
		conn = secured
	}
	if _, err := conn.Write(c.JSON(entries)); err != nil {
		return fmt.Errorf("failed to send data to TCP server: host[%s] port[%d] err: %w", c.Host, c.Port, err)
	}
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.CloseWrite()
	}
	return nil
}
