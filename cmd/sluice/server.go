package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"sluice/admin"
	"sluice/conf"
)

// process is everything that was joined to run one gateway.
type process struct {
	// handlers answer on the Admin API, control, status and metrics listeners.
	handlers map[conf.Service]http.Handler
	// serveHTTP and serveHTTPS answer on one data listener until it is closed.
	serveHTTP, serveHTTPS func(l net.Listener) error
	// drain waits for the requests under way, or until ctx ends, and closes
	// everything that join opened. It is called once, after the listeners closed.
	drain func(ctx context.Context) error
	// reopen opens the access logs anew.
	reopen func() error
}

// server answers on all listeners of a process.
type server struct {
	cfg    *conf.Config
	log    *slog.Logger
	p      *process
	ls     []opened
	http   []*http.Server
	serves sync.WaitGroup
}

func newServer(cfg *conf.Config, log *slog.Logger, p *process, ls []opened) *server {
	return &server{cfg: cfg, log: log, p: p, ls: ls}
}

// start serves every listener on a goroutine of its own; stop waits for them.
// What the channel yields is the failure of one of them.
func (s *server) start() <-chan error {
	failed := make(chan error, len(s.ls))
	for _, l := range s.ls {
		serve := s.answerer(l.Service)
		s.log.Info("listening", "service", l.Service, "addr", l.l.Addr().String())
		s.serves.Go(func() {
			err := serve(l.l)
			if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s: %s: %w", l.Key, l.Addr, err)
			}
		})
	}
	return failed
}

func (s *server) answerer(service conf.Service) func(net.Listener) error {
	switch service {
	case conf.HTTP:
		return s.p.serveHTTP
	case conf.HTTPS:
		return s.p.serveHTTPS
	}
	h := s.p.handlers[service]
	if h == nil {
		h = http.NotFoundHandler()
	}
	srv := admin.NewServer(h, s.log)
	s.http = append(s.http, srv)
	return srv.Serve
}

// stop ends the process: no new connections at once, then the requests under
// way get until limit, or until a further signal to end.
func (s *server) stop(limit time.Duration, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() { // ends with ctx
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				if ends(sig) {
					cancel()
				}
			}
		}
	}()
	errs := []error{closeAll(s.ls), s.p.drain(ctx)}
	for _, srv := range s.http {
		// those who wait at the control or Admin API do not hold the process up
		short, done := context.WithTimeout(ctx, time.Second)
		if srv.Shutdown(short) != nil {
			errs = append(errs, srv.Close())
		}
		done()
	}
	s.serves.Wait()
	return errors.Join(errs...)
}
