// Package splunkheclogging sends a log event of each request to the HTTP event collector of Splunk, in batches.
package splunkheclogging

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
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

// Plugin is splunk-hec-logging.
var Plugin = plugins.Spec{
	Name:     "splunk-hec-logging",
	Priority: 409,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	Endpoint struct {
		URI              string `json:"uri"`
		Token            string `json:"token"`
		Channel          string `json:"channel"`
		Timeout          int    `json:"timeout"`           // seconds
		KeepaliveTimeout int    `json:"keepalive_timeout"` // milliseconds
	} `json:"endpoint"`
	SSLVerify bool `json:"ssl_verify"`
	logentry.Format
	batch.Config
}

type logger struct {
	entry *logentry.Log
	now   func() time.Time
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&logentry.Options{Format: c.Format}, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	client, closeClient := httpout.Open(env.Shared, httpout.Options{
		Timeout: time.Duration(c.Endpoint.Timeout) * time.Second, Verify: c.SSLVerify,
		IdleTimeout: time.Duration(c.Endpoint.KeepaliveTimeout) * time.Millisecond})
	content := struct { // the form of an event depends on the metadata, too
		*config
		Metadata json.RawMessage
	}{c, env.Metadata}
	l := &logger{entry, env.Now}
	log, stop, err := batch.Log(env, &c.Config, content, l.note, c.sender(client, entry), closeClient)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), Log: log, Close: stop}, nil
}

// note is the time, and behind a space the entry; the event is made of
// them when it is sent.
func (l *logger) note(c *plugins.Ctx) []byte {
	now := plugins.AppendSeconds(nil, time.Duration(l.now().UnixNano()))
	return slices.Concat(now, []byte{' '}, l.entry.Entry(c))
}

// usual are the parts of an entry that an event has.
type usual struct {
	Request struct {
		URL, Method, Headers, Querystring, Size json.RawMessage
	}
	Response struct {
		Headers, Status, Size json.RawMessage
	}
	Latency, Upstream json.RawMessage
}

// event is one event for the collector.
func event(text []byte, entry *logentry.Log, host string) ([]byte, error) {
	now, body, _ := bytes.Cut(text, []byte{' '})
	e := map[string]any{"time": json.RawMessage(now), "host": host,
		"source": "apache-apisix-splunk-hec-logging", "sourcetype": "_json", "event": json.RawMessage(body)}
	if !entry.Custom {
		var u usual
		var all map[string]json.RawMessage
		if err := json.Unmarshal(body, &u); err != nil {
			return nil, fmt.Errorf("entry: %w", err)
		}
		if err := json.Unmarshal(body, &all); err != nil {
			return nil, fmt.Errorf("entry: %w", err)
		}
		members := map[string]json.RawMessage{
			"request_url": u.Request.URL, "request_method": u.Request.Method, "request_headers": u.Request.Headers,
			"request_query": u.Request.Querystring, "request_size": u.Request.Size, "response_headers": u.Response.Headers,
			"response_status": u.Response.Status, "response_size": u.Response.Size, "latency": u.Latency,
		}
		if u.Upstream != nil {
			members["upstream"] = u.Upstream
		}
		for _, name := range entry.Extra() {
			if _, has := members[name]; !has && all[name] != nil {
				members[name] = all[name]
			}
		}
		e["event"] = members
	}
	return json.Marshal(e)
}

func (c *config) sender(client *httpout.Client, entry *logentry.Log) batch.Send {
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Splunk " + c.Endpoint.Token}}
	if c.Endpoint.Channel != "" {
		header.Set("X-Splunk-Request-Channel", c.Endpoint.Channel)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return func(ctx context.Context, entries [][]byte) error {
		var body []byte
		for _, text := range entries {
			e, err := event(text, entry, host)
			if err != nil {
				return err
			}
			body = append(body, e...)
		}
		a, err := client.Do(ctx, http.MethodPost, c.Endpoint.URI, header, body)
		if err != nil {
			return fmt.Errorf("failed to write log to splunk, %w", err)
		}
		if a.Status != 200 {
			var answer struct{ Text string }
			if json.Unmarshal(a.Body, &answer) == nil && answer.Text != "" {
				return fmt.Errorf("failed to send splunk, %s", answer.Text)
			}
			return fmt.Errorf("failed to send splunk, http status code: %d", a.Status)
		}
		return nil
	}
}
