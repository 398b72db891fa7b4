// Package elasticsearchlogger indexes a log entry of each request in Elasticsearch, in batches.
package elasticsearchlogger

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
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

// Plugin is elasticsearch-logger.
var Plugin = plugins.Spec{
	Name:     "elasticsearch-logger",
	Priority: 413,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	EndpointAddr  string   `json:"endpoint_addr"`
	EndpointAddrs []string `json:"endpoint_addrs"`
	Field         struct {
		Index string `json:"index"`
	} `json:"field"`
	Auth *struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
	Headers   map[string]string `json:"headers"`
	Timeout   int               `json:"timeout"` // seconds
	SSLVerify bool              `json:"ssl_verify"`
	logentry.Options
	batch.Config
}

type logger struct {
	entry *logentry.Log
	index index
	now   func() time.Time
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	if len(c.EndpointAddrs) == 0 {
		c.EndpointAddrs = []string{c.EndpointAddr}
	}
	ix, err := parseIndex(c.Field.Index)
	if err != nil {
		return plugins.Phases{}, fmt.Errorf("field.index: %w", err)
	}
	client, closeClient := httpout.Open(env.Shared, httpout.Options{
		Timeout: time.Duration(c.Timeout) * time.Second, Verify: c.SSLVerify})
	l := &logger{entry, ix, env.Now}
	log, stop, err := batch.Log(env, &c.Config, c, l.document, c.sender(client, env.Log), closeClient)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: log, Close: stop}, nil
}

// document is the name of the index as JSON, and behind a line break the entry.
func (l *logger) document(c *plugins.Ctx) []byte {
	name := logentry.AppendString(nil, l.index.render(c, l.now()))
	return slices.Concat(name, []byte{'\n'}, l.entry.Entry(c))
}

func (c *config) sender(client *httpout.Client, log *slog.Logger) batch.Send {
	s := &server{config: c, client: client, log: log, header: http.Header{}}
	if c.Auth != nil {
		s.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Auth.Username+":"+c.Auth.Password)))
	}
	for name, value := range c.Headers {
		s.header.Set(name, value)
	}
	s.bulk = http.Header{"Content-Type": {"application/x-ndjson"}, "Accept": {"application/vnd.elasticsearch+json"}}
	for name, values := range s.header {
		s.bulk[name] = values
	}
	return s.send
}

// server is what is sent to. Only the queue's goroutine uses it.
type server struct {
	*config
	client       *httpout.Client
	log          *slog.Logger
	header, bulk http.Header
	major        string // of its version; "" while unknown
}

func (s *server) address() string { return s.EndpointAddrs[rand.IntN(len(s.EndpointAddrs))] }

func (s *server) send(ctx context.Context, entries [][]byte) error {
	kind := ""
	if v := s.version(ctx); v == "5" || v == "6" {
		kind = `,"_type":"_doc"`
	}
	var b bytes.Buffer
	for _, e := range entries {
		name, entry, _ := bytes.Cut(e, []byte{'\n'})
		fmt.Fprintf(&b, "{\"index\":{\"_index\":%s%s}}\n%s\n", name, kind, entry)
	}
	a, err := s.client.Do(ctx, http.MethodPost, s.address()+"/_bulk", s.bulk, b.Bytes())
	if err != nil {
		return err
	}
	if a.Status != 200 {
		return fmt.Errorf("elasticsearch server returned status: %d, body: %s", a.Status, a.Body)
	}
	return nil
}

// version asks once for the server's version; one that does not tell is taken
// for a present one, and asked again with the next batch.
func (s *server) version(ctx context.Context) string {
	if s.major == "" {
		major, err := s.askVersion(ctx)
		if err != nil {
			s.log.Error("failed to get Elasticsearch version: " + err.Error())
		}
		s.major = major
	}
	return s.major
}

func (s *server) askVersion(ctx context.Context) (string, error) {
	a, err := s.client.Do(ctx, http.MethodGet, s.address(), s.header, nil)
	if err != nil {
		return "", err
	}
	var about struct{ Version struct{ Number string } }
	if err := json.Unmarshal(a.Body, &about); err != nil || a.Status != 200 || about.Version.Number == "" {
		return "", fmt.Errorf("server returned status: %d, body: %s", a.Status, a.Body)
	}
	major, _, _ := strings.Cut(about.Version.Number, ".")
	return major, nil
}
