// Package lokilogger pushes a log entry of each request to Loki, in batches.
package lokilogger

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
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

// Plugin is loki-logger.
var Plugin = plugins.Spec{
	Name:     "loki-logger",
	Priority: 414,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	EndpointAddrs    []string          `json:"endpoint_addrs"`
	EndpointURI      string            `json:"endpoint_uri"`
	TenantID         string            `json:"tenant_id"`
	Headers          map[string]string `json:"headers"`
	LogLabels        map[string]string `json:"log_labels"`
	SSLVerify        bool              `json:"ssl_verify"`
	Timeout          int               `json:"timeout"` // milliseconds
	Keepalive        bool              `json:"keepalive"`
	KeepaliveTimeout int               `json:"keepalive_timeout"` // milliseconds
	KeepalivePool    int               `json:"keepalive_pool"`
	logentry.Options
	batch.Config
}

type logger struct {
	entry  *logentry.Log
	labels []label
}

// label is one of a stream's. A text without a variable that has a value stays as it is.
type label struct {
	name  []byte // as JSON, with its colon
	text  string
	value *plugins.Template
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	entry.Unmatched = "no-matched"
	labels, err := c.labels()
	if err != nil {
		return plugins.Phases{}, err
	}
	client, closeClient := httpout.Open(env.Shared, httpout.Options{
		Timeout: time.Duration(c.Timeout) * time.Millisecond, Verify: c.SSLVerify, NoKeepalive: !c.Keepalive,
		Idle: c.KeepalivePool, IdleTimeout: time.Duration(c.KeepaliveTimeout) * time.Millisecond})
	l := &logger{entry, labels}
	log, stop, err := batch.Log(env, &c.Config, c, l.line, c.sender(client), closeClient)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: log, Close: stop}, nil
}

func (c *config) labels() ([]label, error) {
	var list []label
	for _, name := range slices.Sorted(maps.Keys(c.LogLabels)) {
		text := c.LogLabels[name]
		value, err := plugins.ParseTemplate(text)
		if err != nil {
			return nil, fmt.Errorf("log_labels: %w", err)
		}
		list = append(list, label{append(logentry.AppendString(nil, name), ':'), text, value})
	}
	return list, nil
}

// line is a request's labels, as JSON, and behind a line break the time and the line.
func (l *logger) line(c *plugins.Ctx) []byte {
	b := []byte{'{'}
	for i := range l.labels {
		if i > 0 {
			b = append(b, ',')
		}
		value, resolved := l.labels[i].value.RenderCount(c)
		if resolved == 0 {
			value = l.labels[i].text
		}
		b = logentry.AppendString(append(b, l.labels[i].name...), value)
	}
	b = append(b, "}\n[\""...)
	b = strconv.AppendInt(b, c.Start.UnixMilli(), 10)
	b = append(b, `000000",`...)
	return append(logentry.AppendString(b, l.entry.Entry(c)), ']')
}

// streams puts the lines with the same labels together.
func streams(entries [][]byte) []byte {
	var order [][]byte
	values := map[string][][]byte{}
	for _, e := range entries {
		labels, value, _ := bytes.Cut(e, []byte{'\n'})
		if _, ok := values[string(labels)]; !ok {
			order = append(order, labels)
		}
		values[string(labels)] = append(values[string(labels)], value)
	}
	b := []byte(`{"streams":[`)
	for i, labels := range order {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"stream":`...), labels...)
		b = append(append(b, `,"values":[`...), bytes.Join(values[string(labels)], []byte{','})...)
		b = append(b, "]}"...)
	}
	return append(b, "]}"...)
}

func (c *config) sender(client *httpout.Client) batch.Send {
	header := http.Header{}
	for name, value := range c.Headers {
		header.Set(name, value)
	}
	header.Set("X-Scope-OrgID", c.TenantID)
	header.Set("Content-Type", "application/json")
	return func(ctx context.Context, entries [][]byte) error {
		address := c.EndpointAddrs[rand.IntN(len(c.EndpointAddrs))] + c.EndpointURI
		a, err := client.Do(ctx, http.MethodPost, address, header, streams(entries))
		if err != nil {
			return err
		}
		if a.Status >= 300 {
			return fmt.Errorf("loki server returned status: %d, body: %s", a.Status, a.Body)
		}
		return nil
	}
}
