// Package clickhouselogger inserts a log entry of each request into a table of ClickHouse, in batches.
package clickhouselogger

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/batch"
	"sluice/plugins/internal/httpout"
	"sluice/plugins/internal/logentry"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is clickhouse-logger.
var Plugin = plugins.Spec{
	Name:     "clickhouse-logger",
	Priority: 398,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	EndpointAddr  string   `json:"endpoint_addr"`
	EndpointAddrs []string `json:"endpoint_addrs"`
	User          string   `json:"user"`
	Password      string   `json:"password"`
	Database      string   `json:"database"`
	Logtable      string   `json:"logtable"`
	Timeout       int      `json:"timeout"` // seconds
	SSLVerify     bool     `json:"ssl_verify"`
	logentry.Options
	batch.Config
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	if len(c.EndpointAddrs) == 0 {
		c.EndpointAddrs = []string{c.EndpointAddr}
	}
	client, closeClient := httpout.Open(env.Shared, httpout.Options{
		Timeout: time.Duration(c.Timeout) * time.Second, Verify: c.SSLVerify})
	log, stop, err := batch.Log(env, &c.Config, c, entry.Entry, c.sender(client), closeClient)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: log, Close: stop}, nil
}

func (c *config) sender(client *httpout.Client) batch.Send {
	header := http.Header{"Content-Type": {"application/json"}, "X-ClickHouse-User": {c.User},
		"X-ClickHouse-Key": {c.Password}, "X-ClickHouse-Database": {c.Database}}
	insert := []byte("INSERT INTO " + c.Logtable + " FORMAT JSONEachRow ")
	return func(ctx context.Context, entries [][]byte) error {
		body := append(bytes.Clone(insert), bytes.Join(entries, []byte{' '})...)
		a, err := client.Do(ctx, http.MethodPost, c.EndpointAddrs[rand.IntN(len(c.EndpointAddrs))], header, body)
		if err != nil {
			return err
		}
		if a.Status >= 400 {
			return fmt.Errorf("server returned status code[%d] body[%s]", a.Status, a.Body)
		}
		return nil
	}
}
