// Package yaml reads the configuration from one file, YAML or JSON, as APISIX
// does when it stands alone: lists of objects under the plural names of the
// kinds. Every change of the file is a full batch. The package does not judge
// the objects; a Snapshot does.
package yaml

import (
	"context"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"sluice/configcenter"
)

// Source reads one file. Make it with New.
type Source struct {
	path  string
	every time.Duration
	env   func(string) (string, bool)
}

var _ configcenter.Source = (*Source)(nil)

// Option changes how a Source reads.
type Option func(*Source)

// Every sets how often the file is looked at; once a second otherwise.
func Every(d time.Duration) Option { return func(s *Source) { s.every = d } }

// Env sets where ${{NAME}} is looked up; the process's environment otherwise.
func Env(look func(name string) (string, bool)) Option { return func(s *Source) { s.env = look } }

// New makes a source of the file at path. A name that ends in .json is read as
// JSON, any other as YAML, which must end with a line "#END".
func New(path string, opts ...Option) *Source {
	s := &Source{path: path, every: time.Second, env: os.LookupEnv}
	for _, o := range opts {
		o(s)
	}
	return s
}

// stamp is what tells one state of the file from another.
type stamp struct {
	mod  time.Time
	size int64
}

// Watch sends the file's content now and whenever it has changed. A file that
// cannot be read is an error, told once for each of its states, and leaves
// what was sent before in force.
func (s *Source) Watch(ctx context.Context) iter.Seq2[configcenter.Batch, error] {
	return func(yield func(configcenter.Batch, error) bool) {
		var seen stamp
		var told string
		var rev int64
		tick := time.NewTicker(s.every)
		defer tick.Stop()
		for ctx.Err() == nil {
			now, err := s.look()
			if err == nil && now != seen {
				var changes []configcenter.Change
				next := max(rev+1, now.mod.UnixMilli())
				if changes, err = s.read(next); err == nil {
					rev, seen, told = next, now, ""
					if !yield(configcenter.Batch{Rev: rev, Full: true, Changes: changes}, nil) {
						return
					}
				}
			}
			if err != nil {
				if text := fmt.Sprint(now, err); text != told {
					told = text
					if !yield(configcenter.Batch{}, err) {
						return
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
}

func (s *Source) look() (stamp, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return stamp{}, fmt.Errorf("failed to fetch %s attributes: %w", s.path, err)
	}
	return stamp{mod: info.ModTime(), size: info.Size()}, nil
}

// read reads the file; objects without a modifiedIndex of their own get rev.
func (s *Source) read(rev int64) ([]configcenter.Change, error) {
	text, err := os.ReadFile(s.path)
	if err != nil {
		return nil, fmt.Errorf("failed to open file %s : %w", s.path, err)
	}
	var doc any
	if strings.HasSuffix(s.path, ".json") {
		doc, err = s.parseJSON(text)
	} else {
		doc, err = s.parseYAML(text)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to parse the content of file %s: %w", s.path, err)
	}
	changes, err := Objects(doc, rev)
	if err != nil {
		return nil, fmt.Errorf("failed to parse the content of file %s: %w", s.path, err)
	}
	return changes, nil
}
