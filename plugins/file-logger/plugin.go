// Package filelogger appends a log entry of each request to a file.
package filelogger

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"sluice/plugins"
	"sluice/plugins/internal/logentry"
	"sluice/plugins/internal/logfile"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is file-logger.
var Plugin = plugins.Spec{
	Name:     "file-logger",
	Priority: 399,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

// Reopen makes the files of all instances with shared in their Env be opened
// anew, for the command that is told that they were moved away.
func Reopen(shared *plugins.Shared) { logfile.Reopen(shared) }

type config struct {
	Path  string          `json:"path"`
	Match json.RawMessage `json:"match"`
	logentry.Options
}

type metadata struct {
	Path string `json:"path"`
}

type logger struct {
	entry *logentry.Log
	file  *logfile.File
	match []*expr.Program[*plugins.Ctx] // one must hold; nil: none is asked for
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	var md metadata
	if err := plugins.Decode(env.Metadata, &md); err != nil {
		return plugins.Phases{}, err
	}
	if c.Path == "" {
		c.Path = md.Path
	}
	if c.Path == "" {
		return plugins.Phases{}, errors.New(`property "path" is not set in either the plugin conf or the metadata`)
	}
	match, err := conditions(c.Match)
	if err != nil {
		return plugins.Phases{}, fmt.Errorf("failed to validate the 'match' expression: %w", err)
	}
	entry, err := logentry.New(&c.Options, env)
	if err != nil {
		return plugins.Phases{}, err
	}
	file, release := logfile.Open(env.Shared, c.Path, env.Log)
	l := &logger{entry, file, match}
	return plugins.Phases{Access: entry.Access(), BodyFilter: entry.BodyFilter(), Log: l.log, Close: release}, nil
}

// conditions compiles match: a list of expressions.
func conditions(text json.RawMessage) ([]*expr.Program[*plugins.Ctx], error) {
	if text == nil {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	match := make([]*expr.Program[*plugins.Ctx], len(list))
	for i, one := range list {
		var err error
		if match[i], err = expr.Compile(one, plugins.ExprValue); err != nil {
			return nil, err
		}
	}
	return match, nil
}

func (l *logger) log(c *plugins.Ctx) {
	if l.match != nil && !l.matches(c) {
		return
	}
	l.entry.Use(c, l.file.Write)
}

func (l *logger) matches(c *plugins.Ctx) bool {
	for _, m := range l.match {
		if m.Eval(c) {
			return true
		}
	}
	return false
}
