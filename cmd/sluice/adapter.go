package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/backend"
)

var adapterCommand = command{
	name: "etcd-adapter", args: "[--backend STORE] [--listen-addr 127.0.0.1:2379]", summary: "be an etcd v3 server over another store",
	help: `Answers etcd's v3 API, gRPC and JSON, on one port. The backend "memory" ends with
the process; "memory:PATH" also writes each change to a file before it answers.
"sqlite://PATH" is a file that several processes of one machine may share;
"postgres://USER:PASSWORD@HOST/DATABASE" and "mysql://USER:PASSWORD@HOST/DATABASE"
(MySQL, MariaDB, TiDB) are databases that any number of processes may share. Where
others can see the command line, the backend may be in SLUICE_BACKEND instead.
There are no users: whoever can connect may read and write everything.

Example:
  sluice etcd-adapter --backend memory:/var/lib/sluice/store --listen-addr 127.0.0.1:2379
  etcdctl --endpoints 127.0.0.1:2379 put /a 1
  sluice etcd-adapter --backend sqlite:///var/lib/sluice/store.db
  SLUICE_BACKEND=postgres://sluice:secret@db.internal/sluice sluice etcd-adapter --listen-addr 0.0.0.0:2379
`,
	run: serveAdapter,
}

func serveAdapter(c *command, env *environment, args []string) (err error) {
	fs := c.flags(env)
	store := fs.String("backend", "", "one of "+backend.Forms+" (default: SLUICE_BACKEND, else memory)")
	listen := fs.String("listen-addr", "127.0.0.1:2379", "address to listen on")
	advertise := fs.String("advertise-client-url", "", "URL that the member list shows (default: the address)")
	retention := fs.Duration("auto-compaction-retention", time.Hour, "how long old revisions are kept; 0 for ever")
	cert := fs.String("cert-file", "", "TLS certificate; with --key-file")
	key := fs.String("key-file", "", "TLS key")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *store == "" {
		*store = cmp.Or(os.Getenv("SLUICE_BACKEND"), "memory")
	}
	log := slog.New(slog.NewTextHandler(env.stderr, nil))
	conf := adapter.Config{Log: log, Advertise: *advertise, Retention: *retention}
	if *cert != "" || *key != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return fmt.Errorf("--cert-file %s, --key-file %s: %w", *cert, *key, err)
		}
		conf.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if conf.Backend, err = backend.Open(context.Background(), *store); err != nil {
		return fmt.Errorf("--backend: %w", err)
	}
	defer func() { err = errors.Join(err, conf.Backend.Close()) }()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("--listen-addr %s: %w", *listen, err)
	}
	s, err := adapter.New(conf)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	log.Info("listening", "service", "etcd", "addr", l.Addr().String())
	return untilSignal(env, func(ctx context.Context) error {
		defer s.Close()
		return s.Serve(ctx, l)
	})
}

// untilSignal runs serve until it fails or the process is told to end.
func untilSignal(env *environment, serve func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }() // ends with ctx
	signals, stop := env.notify()
	defer stop()
	for {
		select {
		case err := <-served:
			return err
		case s := <-signals:
			if s != os.Interrupt && s.String() != "terminated" {
				continue
			}
			cancel()
			return <-served
		}
	}
}
