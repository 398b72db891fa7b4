// Package conf reads config.yaml: the static configuration of a gateway, read
// once at start and never changed after that. It knows the format of the file
// (APISIX's, with Sluice's own settings under the key sluice), its defaults,
// and what in it has no effect here.
//
// It does not know routes, plugins or upstreams: those are dynamic and come
// from the configuration center.
package conf

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DefaultPath is where Load looks when no path is given; with APISIX_PROFILE
// set, "-" and its value stand before the suffix.
const DefaultPath = "conf/config.yaml"

const defaultsFile = "config-default.yaml"

// defaults is the configuration that a user's file is merged over.
//
//go:embed config-default.yaml
var defaults []byte

// Config is the static configuration of one gateway. Paths in it are as
// written: relative ones count from the working directory.
type Config struct {
	Apisix        Apisix                     `conf:"apisix"`
	Nginx         Nginx                      `conf:"nginx_config"`
	GraphQL       GraphQL                    `conf:"graphql"`
	ExtPlugin     ExtPlugin                  `conf:"ext-plugin"`
	Wasm          Wasm                       `conf:"wasm"`
	XRPC          XRPC                       `conf:"xrpc"`
	Plugins       []string                   `conf:"plugins"`
	StreamPlugins []string                   `conf:"stream_plugins"`
	Discovery     map[string]json.RawMessage `conf:"discovery"`
	PluginAttr    map[string]json.RawMessage `conf:"plugin_attr"`
	Deployment    Deployment                 `conf:"deployment"`
	Sluice        Sluice                     `conf:"sluice"`

	// File is the file that was read, "" when there was none.
	File string `conf:"-"`
	// Provider is where dynamic configuration comes from: etcd, yaml or json.
	Provider string `conf:"-"`
	// EmbeddedStore says that Sluice runs its own etcd, because no
	// deployment.etcd.host was given.
	EmbeddedStore bool `conf:"-"`
	// DefaultPlugins says that the user named no plugins: those of the default
	// list that this version lacks are then nobody's mistake.
	DefaultPlugins bool `conf:"-"`
	// Prometheus is plugin_attr.prometheus, decoded.
	Prometheus PrometheusAttr `conf:"-"`
	// Warnings name the keys of the user's file that have no effect, and
	// settings that are allowed but dangerous. For the log, once.
	Warnings []string `conf:"-"`
}

// Load reads the configuration. With an empty path it is DefaultPath, and its
// absence means "defaults only"; a path that was given must exist. Errors name
// file, line, key and value.
func Load(path string) (*Config, error) {
	given := path != ""
	if !given {
		path = profiled(DefaultPath)
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !given:
		return Parse("", nil)
	case err != nil:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return Parse(path, text)
}

// Parse is Load for the text of a file; file is only its name in errors.
func Parse(file string, text []byte) (*Config, error) {
	base, err := parseTree(defaultsFile, defaults, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	cfg := &Config{File: file}
	if err := newDecoder(nil).decode(base, cfg); err != nil {
		return nil, err
	}
	user, err := parseTree(file, text, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	if user.kind != kindNull {
		if err := merge(base, user, ""); err != nil {
			return nil, err
		}
	}
	cfg.Warnings = append(cfg.Warnings, etcdHostFromEnv(base)...)
	cfg.EmbeddedStore = base.at("deployment", "etcd", "host") == nil
	plugins := base.at("plugins")
	cfg.DefaultPlugins = plugins != nil && plugins.file == defaultsFile
	if err := newDecoder(&cfg.Warnings).decode(base, cfg); err != nil {
		return nil, err
	}
	if err := cfg.finish(base); err != nil {
		return nil, err
	}
	return cfg, nil
}

// profiled puts the profile of the environment into a file name:
// conf/config.yaml becomes conf/config-prod.yaml with APISIX_PROFILE=prod.
func profiled(path string) string {
	profile := os.Getenv("APISIX_PROFILE")
	if profile == "" {
		return path
	}
	ext := filepath.Ext(path)
	return path[:len(path)-len(ext)] + "-" + profile + ext
}

// ResourceFile is the file that holds the dynamic configuration when Provider
// is yaml or json: apisix.yaml or apisix.json beside config.yaml.
func (c *Config) ResourceFile() string {
	return filepath.Join(c.dir(), filepath.Base(profiled("apisix."+c.Provider)))
}

func (c *Config) dir() string {
	if c.File == "" {
		return filepath.Dir(DefaultPath)
	}
	return filepath.Dir(c.File)
}
