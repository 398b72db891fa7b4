package main

import (
	"context"
	"log/slog"
	"net/http"

	"sluice/conf"
)

// join makes the parts of one gateway and connects them. ctx ends when the
// process does.
func join(ctx context.Context, cfg *conf.Config, log *slog.Logger) (*process, error) {
	data := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: cfg.Nginx.HTTP.ClientHeaderTimeout}
	return &process{
		handlers:   map[conf.Service]http.Handler{},
		serveHTTP:  data.Serve,
		serveHTTPS: data.Serve,
		drain:      data.Shutdown,
		reopen:     func() error { return nil },
	}, nil
}
