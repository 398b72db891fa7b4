package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"sluice/conf"
)

var runCommand = command{
	name: "run", args: "[-c conf/config.yaml]", summary: "run the gateway in the foreground",
	help: `Reads the configuration, opens every address, and serves until it is told to
stop. Without a configuration file the defaults hold: an etcd of its own in
./data, HTTP on 9080, HTTPS on 9443, the Admin API on 127.0.0.1:9180.

SIGTERM and SIGINT end it after the requests under way, at the latest after
nginx_config.worker_shutdown_timeout; a second one ends it at once. SIGUSR1
opens the log files anew.

Example:
  sluice run -c conf/config.yaml
`,
	run: run,
}

func run(c *command, env *environment, args []string) error {
	fs := c.flags(env)
	path := fs.String("c", "", "configuration file (default \"conf/config.yaml\", which may be missing)")
	if err := parse(fs, args); err != nil {
		return err
	}
	cfg, err := conf.Load(*path)
	if err != nil {
		return err
	}
	log, reopen, err := logger(cfg, env.stderr)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "note", w)
	}
	limitProcessors(cfg)
	signals, stop := env.notify()
	defer stop()
	ls, err := openAll(cfg)
	if err != nil {
		return err
	}
	made, err := cfg.EnsureAdminKey()
	if err != nil {
		return errors.Join(err, closeAll(ls))
	}
	if made != "" {
		fmt.Fprintf(env.stdout, "The key of the Admin API, shown only now, kept in %s:\n%s\n", cfg.AdminKeyFile(), made)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := join(ctx, cfg, log)
	if err != nil {
		return errors.Join(err, closeAll(ls))
	}
	return supervise(cfg, log, p, ls, signals, reopen)
}

// supervise serves until a signal says stop or a listener fails, then drains.
func supervise(cfg *conf.Config, log *slog.Logger, p *process, ls []opened, signals <-chan os.Signal, reopen func() error) error {
	s := newServer(cfg, log, p, ls)
	failed := s.start()
	log.Info("serving", "version", versionText(), "config", cfg.File, "provider", cfg.Provider, "role", cfg.Deployment.Role)
	for {
		select {
		case err := <-failed:
			return errors.Join(err, s.stop(0, nil))
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				log.Info("SIGHUP is ignored: configuration arrives by itself, and config.yaml is read at start only")
			case syscall.SIGUSR1:
				if err := errors.Join(reopen(), p.reopen()); err != nil {
					log.Error("log files not opened anew", "err", err)
				}
			default:
				log.Info("draining", "signal", sig.String(), "limit", cfg.Nginx.WorkerShutdownTimeout)
				err := s.stop(cfg.Nginx.WorkerShutdownTimeout, signals)
				log.Info("stopped")
				return err
			}
		}
	}
}

// notify is the stream of signals that the process reacts to.
func (e *environment) notify() (<-chan os.Signal, func()) {
	if e.signals != nil {
		return e.signals, func() {}
	}
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

// ends says that a signal tells the process to end.
func ends(s os.Signal) bool { return s != syscall.SIGHUP && s != syscall.SIGUSR1 }

// untilSignal is a context that ends when the process is told to end.
func (e *environment) untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, stop := e.notify()
	go func() { // ends with ctx
		for ctx.Err() == nil {
			select {
			case s := <-signals:
				if ends(s) {
					cancel()
				}
			case <-ctx.Done():
			}
		}
	}()
	return ctx, func() { cancel(); stop() }
}

// limitProcessors follows nginx_config.worker_processes when it is a number and
// GOMAXPROCS does not say otherwise.
func limitProcessors(cfg *conf.Config) {
	if n, err := strconv.Atoi(cfg.Nginx.WorkerProcesses); err == nil && n > 0 && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(n, runtime.NumCPU()))
	}
}
