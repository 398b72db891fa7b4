// Package datadog sends metrics of each request to a DogStatsD server.
package datadog

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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

// Plugin is datadog.
var Plugin = plugins.Spec{
	Name:     "datadog",
	Priority: 495,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	PreferName    bool     `json:"prefer_name"`
	IncludePath   bool     `json:"include_path"`
	IncludeMethod bool     `json:"include_method"`
	ConstantTags  []string `json:"constant_tags"`
	batch.Config
}

type metadata struct {
	Host         string   `json:"host"`
	Port         int      `json:"port"`
	Namespace    string   `json:"namespace"`
	ConstantTags []string `json:"constant_tags"`
}

type meter struct {
	*config
	prefix       string
	tags         string // the constant ones
	ip           plugins.Getter
	length, sent plugins.Appender
	now          func() time.Time
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	md := metadata{Host: "127.0.0.1", Port: 8125, Namespace: "apisix", ConstantTags: []string{"source:apisix"}}
	if err := plugins.Decode(env.Metadata, &md); err != nil {
		return plugins.Phases{}, err
	}
	content := struct { // where it goes depends on the metadata
		*config
		Metadata json.RawMessage
	}{c, env.Metadata}
	m := &meter{config: c, prefix: md.Namespace, now: env.Now,
		tags: strings.Join(append(md.ConstantTags, c.ConstantTags...), ","), ip: plugins.Variable("balancer_ip"),
		length: plugins.VariableAppender("request_length"), sent: plugins.VariableAppender("bytes_sent")}
	if m.prefix != "" {
		m.prefix += "."
	}
	log, stop, err := batch.Log(env, &c.Config, content, m.metrics, md.send, nil)
	if err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Log: log, Close: stop}, nil
}

// metrics are those of a request, one a line.
func (m *meter) metrics(c *plugins.Ctx) []byte {
	tags := m.appendTags(c.Scratch(), c)
	all := m.now().Sub(c.Start)
	own := all
	b := make([]byte, 0, 6*(len(m.prefix)+len(tags)+32))
	b = append(append(b, m.prefix...), "request.counter:1|c"...)
	b = append(b, tags...)
	b = m.appendTime(b, "request.latency", all, tags)
	if len(c.Tries) > 0 {
		up := logentry.UpstreamTime(c)
		own = all - up
		b = m.appendTime(b, "upstream.latency", up, tags)
	}
	b = m.appendTime(b, "apisix.latency", own, tags)
	b = append(append(append(b, '\n'), m.prefix...), "ingress.size:"...)
	b, _ = m.length(c, b)
	b = append(append(b, "|ms"...), tags...)
	b = append(append(append(b, '\n'), m.prefix...), "egress.size:"...)
	b, _ = m.sent(c, b)
	return append(append(b, "|ms"...), tags...)
}

func (m *meter) appendTime(b []byte, name string, d time.Duration, tags []byte) []byte {
	b = append(append(append(b, '\n'), m.prefix...), name...)
	b = logentry.AppendMillis(append(b, ':'), d)
	return append(append(b, "|h"...), tags...)
}

// appendTags writes what is behind "|#"; a tag without value is left out.
func (m *meter) appendTags(b []byte, c *plugins.Ctx) []byte {
	b = append(append(b, "|#"...), m.tags...)
	none := len(b)
	add := func(name, value string) {
		if value == "" {
			return
		}
		if len(b) > len("|#") {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	route, service := m.names(c)
	add("route_name", route)
	if m.IncludePath {
		add("path", c.Matched.Path)
	}
	if m.IncludeMethod {
		add("method", c.Req.Method)
	}
	add("service_name", service)
	if c.Consumer != nil && c.Consumer.Def != nil {
		add("consumer", c.Consumer.Def.Username)
	}
	ip, _ := m.ip(c)
	add("balancer_ip", ip)
	if c.Resp != nil {
		status := strconv.Itoa(c.Resp.Status)
		add("response_status", status)
		add("response_status_class", status[:1]+"xx")
	}
	add("scheme", c.UpstreamScheme)
	if len(b) == none && m.tags == "" {
		return b[:0]
	}
	return b
}

// names are those of the route and the service, or their ids.
func (m *meter) names(c *plugins.Ctx) (route, service string) {
	if c.Route == nil {
		return "", c.Var("host")
	}
	route, service = string(c.Route.ID), string(c.Route.ServiceID)
	if m.PreferName {
		if c.Route.Name != "" {
			route = c.Route.Name
		}
		if c.Service != nil && c.Service.Name != "" {
			service = c.Service.Name
		}
	}
	return route, service
}

// callTimeout bounds the look-up of the server's name.
const callTimeout = 5 * time.Second

// maxDatagram is what an agent takes in one piece, in bytes.
const maxDatagram = 8192

// send writes a datagram for each request, or for each metric when it is too long.
func (md *metadata) send(ctx context.Context, entries [][]byte) error {
	conn, err := netout.Dial(ctx, "udp", md.Host, md.Port, callTimeout)
	if err != nil {
		return fmt.Errorf("failed to connect to UDP server: host[%s] port[%d] err: %w", md.Host, md.Port, err)
	}
	defer conn.Close()
	for i, e := range entries {
		pieces := [][]byte{e}
		if len(e) > maxDatagram {
			pieces = bytes.Split(e, []byte{'\n'})
		}
		for _, p := range pieces {
			if _, err := conn.Write(p); err != nil {
				return &batch.PartialError{Done: i, Err: fmt.Errorf(
					"failed to send metrics to dogstatsd server: host[%s] port[%d] err: %w", md.Host, md.Port, err)}
			}
		}
	}
	return nil
}
