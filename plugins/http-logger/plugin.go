// Package httplogger posts a log entry of each request to an HTTP server, in batches.
package httplogger

import (
	"context"
	_ "embed"
	"fmt"
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

// Plugin is http-logger.
var Plugin = plugins.Spec{
	Name:     "http-logger",
	Priority: 410,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	URI          string `json:"uri"`
	AuthHeader   string `json:"auth_header"`
	Timeout      int    `json:"timeout"` // seconds
	ConcatMethod string `json:"concat_method"`
	SSLVerify    bool   `json:"ssl_verify"`
	logentry.Options
	batch.Config
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	entry.Unmatched = "no-matched"
	client, closeClient := httpout.Open(env.Shared, httpout.Options{
		Timeout: time.Duration(c.Timeout) * time.Second, Verify: c.SSLVerify})
	log, stop, err := batch.Log(env, &c.Config, c, entry.Entry, c.sender(client), closeClient)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: log, Close: stop}, nil
}

// sender posts batches; an answer of 400 or more is a failure.
func (c *config) sender(client *httpout.Client) batch.Send {
	header := http.Header{"Content-Type": {"application/json"}}
	join := c.JSON
	if c.ConcatMethod == "new_line" {
		header.Set("Content-Type", "text/plain")
		join = batch.Lines
	}
	if c.AuthHeader != "" {
		header.Set("Authorization", c.AuthHeader)
	}
	return func(ctx context.Context, entries [][]byte) error {
		a, err := client.Do(ctx, http.MethodPost, c.URI, header, join(entries))
		if err != nil {
			return err
		}
		if a.Status >= 400 {
			return fmt.Errorf("server returned status code[%d] body[%s]", a.Status, a.Body)
		}
		return nil
	}
}
