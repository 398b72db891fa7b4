package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
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
With SQLite one machine, and with PostgreSQL, MySQL, MariaDB and TiDB many, may run
several adapters on one database.

Until users are made (etcdctl user add, auth enable), whoever can connect may read
and write everything. --trusted-ca-file lets only those connect who have a
certificate that it signs.

SIGTERM and SIGINT end it: watches at once, other requests when they are answered.

Examples:
  sluice etcd-adapter --backend memory:/var/lib/sluice/store --listen-addr 127.0.0.1:2379
  sluice etcd-adapter --backend sqlite:///var/lib/sluice/store.db --auto-compaction-retention 10m
  sluice etcd-adapter --backend 'postgres://sluice:PASSWORD@db.example/sluice' --listen-addr :2379 \
    --cert-file server.pem --key-file server.key --trusted-ca-file ca.pem --client-cert-auth
  etcdctl --endpoints 127.0.0.1:2379 put /a 1
  etcdctl --endpoints 127.0.0.1:2379 snapshot save for-a-real-etcd.db
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
	ca := fs.String("trusted-ca-file", "", "certificates of who signs those of clients; clients must have one then")
	mutual := fs.Bool("client-cert-auth", false, "clients must have a certificate; needs --trusted-ca-file")
	progress := fs.Duration("watch-progress-notify-interval", 10*time.Minute, "how often watches that asked for it hear the revision")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *store == "" {
		*store = cmp.Or(os.Getenv("SLUICE_BACKEND"), "memory")
	}
	log := slog.New(slog.NewTextHandler(env.stderr, nil))
	conf := adapter.Config{Log: log, Advertise: *advertise, Retention: *retention, ProgressInterval: *progress}
	if conf.TLS, err = serverTLS(*cert, *key, *ca, *mutual); err != nil {
		return err
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
	defer s.Close()
	ctx, stop := env.untilSignal()
	defer stop()
	return s.Serve(ctx, l)
}

// serverTLS is nil when there is no certificate. As with etcd, clients must have
// one when it is told who signs theirs.
func serverTLS(cert, key, ca string, mutual bool) (*tls.Config, error) {
	switch {
	case cert == "" && key == "" && (ca != "" || mutual):
		return nil, errors.New("--trusted-ca-file and --client-cert-auth want --cert-file and --key-file")
	case cert == "" && key == "":
		return nil, nil
	case mutual && ca == "":
		return nil, errors.New("--client-cert-auth: needs --trusted-ca-file")
	}
	c, err := servingTLS(cert, key, ca)
	if err != nil {
		return nil, fmt.Errorf("--cert-file %s, --key-file %s, --trusted-ca-file %s: %w", cert, key, ca, err)
	}
	return c, nil
}

// servingTLS reads its files for each connection, so that renewed ones count.
// With ca, clients must have a certificate that it signs.
func servingTLS(cert, key, ca string) (*tls.Config, error) {
	load := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
		if ca == "" {
			return c, nil
		}
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate", ca)
		}
		return c, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: load}, nil
}
