package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"sluice/configcenter/relay"
)

var relayCommand = command{
	name: "etcd-relay", args: "--endpoints HOST:PORT,... [--listen-addr 127.0.0.1:23790]", summary: "stand in front of an etcd cluster, for many clients",
	help: `Answers etcd's v3 API over gRPC by asking the cluster at --endpoints. However
many clients watch, the cluster sees a few watches; a client that is slow or
stuck holds up nobody; a cluster that loses its leader or restarts costs no
client its watch. Each client is checked by etcd itself, with its own token.

The flags are those of "etcd grpc-proxy start". In a cluster with users, give
the relay a user of its own (--user, password in ETCD_PASSWORD) that may read
what the clients watch; without one, only clients with the same token share a
watch. The member list shows the relays, so that clients that sync their
endpoints stay with them: --resolver-prefix makes several relays know each other.

/health and /metrics are answered on --listen-addr too, and on --metrics-addr.

Example:
  sluice etcd-relay --endpoints 10.0.0.1:2379,10.0.0.2:2379 --listen-addr 0.0.0.0:23790 \
    --advertise-client-url http://10.0.0.9:23790
  etcdctl --endpoints 10.0.0.9:23790 watch --prefix /apisix

  sluice etcd-relay --endpoints https://etcd:2379 --cacert ca.pem --cert relay.pem --key relay.key \
    --cert-file server.pem --key-file server.key --trusted-ca-file clients.pem --client-cert-auth \
    --namespace /team-a --metrics-addr http://127.0.0.1:9379
`,
	run: serveRelay,
}

// relayArgs are what the flags of etcd-relay set, beside the relay's own configuration.
type relayArgs struct {
	conf                 relay.Config
	endpoints, listen    string
	metrics              string
	srv, srvName         string
	srvInsecure          bool
	cert, key, ca        string
	insecure             bool
	listenCert           string
	listenKey            string
	listenCA, listenCRL  string
	listenCiphers        string
	listenMin, listenMax string
	clientAuth, autoTLS  bool
	validity             uint
	dataDir              string
	debug                bool
	maxStreams           uint
}

func serveRelay(c *command, env *environment, args []string) (err error) {
	a := &relayArgs{}
	fs := c.flags(env)
	a.define(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	level := slog.LevelInfo
	if a.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: level}))
	if err := a.complete(log); err != nil {
		return err
	}
	l, err := net.Listen("tcp", a.listen)
	if err != nil {
		return fmt.Errorf("--listen-addr %s: %w", a.listen, err)
	}
	r, err := relay.New(a.conf)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	extra, err := a.metricsListener()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	log.Info("listening", "service", "etcd relay", "addr", l.Addr().String(), "endpoints", strings.Join(a.conf.Endpoints, ","))
	ctx, stop := env.untilSignal()
	defer stop()
	if extra != nil {
		log.Info("listening", "service", "metrics", "addr", extra.Addr().String())
		web := &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 10 * time.Second}
		done := make(chan struct{})
		go func() { // ends with web
			defer close(done)
			if err := web.Serve(extra); !errors.Is(err, http.ErrServerClosed) {
				log.Error("--metrics-addr is not answered any more", "err", err)
			}
		}()
		defer func() { web.Close(); <-done }()
	}
	return r.Serve(ctx, l)
}

func (a *relayArgs) define(fs *flag.FlagSet) {
	fs.StringVar(&a.endpoints, "endpoints", "127.0.0.1:2379", "endpoints of the etcd cluster, separated by commas")
	fs.StringVar(&a.listen, "listen-addr", "127.0.0.1:23790", "address to listen on")
	fs.StringVar(&a.metrics, "metrics-addr", "", "URL to answer /metrics and /health on as well")
	fs.StringVar(&a.srv, "discovery-srv", "", "domain whose SRV records are the endpoints")
	fs.StringVar(&a.srvName, "discovery-srv-name", "", "suffix of the service name in SRV records")
	fs.BoolVar(&a.srvInsecure, "insecure-discovery", false, "accept SRV records of endpoints without TLS")
	fs.DurationVar(&a.conf.SyncInterval, "endpoints-auto-sync-interval", 0, "how often the endpoints are asked from the cluster; 0 never")
	fs.StringVar(&a.conf.User, "user", "", "who the relay itself is in a cluster with users; its password is read from ETCD_PASSWORD")
	fs.StringVar(&a.conf.Namespace, "namespace", "", "put in front of every key, unseen by the clients")
	fs.StringVar(&a.conf.Advertise, "advertise-client-url", "", "URL that the member list shows (default: the address)")
	fs.StringVar(&a.conf.ResolverPrefix, "resolver-prefix", "", "prefix under which the relays register themselves")
	fs.IntVar(&a.conf.ResolverTTL, "resolver-ttl", 0, "how long a registration lasts, in seconds; with --resolver-prefix")
	fs.BoolVar(&a.conf.Ordered, "experimental-serializable-ordering", false, "serializable reads never go back")

	fs.StringVar(&a.cert, "cert", "", "certificate for the cluster; must have no common name")
	fs.StringVar(&a.key, "key", "", "key for the cluster")
	fs.StringVar(&a.ca, "cacert", "", "who signs the cluster's certificates")
	fs.BoolVar(&a.insecure, "insecure-skip-tls-verify", false, "do not check the cluster's certificates (for tests only)")

	fs.StringVar(&a.listenCert, "cert-file", "", "certificate for clients")
	fs.StringVar(&a.listenKey, "key-file", "", "key for clients")
	fs.StringVar(&a.listenCA, "trusted-ca-file", "", "who signs the clients' certificates; clients must have one then")
	fs.BoolVar(&a.clientAuth, "client-cert-auth", false, "clients must have a certificate; needs --trusted-ca-file")
	fs.StringVar(&a.listenCRL, "client-crl-file", "", "list of revoked client certificates")
	fs.StringVar(&a.listenCiphers, "listen-cipher-suites", "", "cipher suites for clients, separated by commas")
	fs.StringVar(&a.listenMin, "tls-min-version", "TLS1.2", "TLS1.2 or TLS1.3")
	fs.StringVar(&a.listenMax, "tls-max-version", "", "TLS1.2 or TLS1.3; empty for the newest")
	fs.BoolVar(&a.autoTLS, "auto-tls", false, "make a certificate for clients, in --data-dir")
	fs.UintVar(&a.validity, "self-signed-cert-validity", 1, "how long such a certificate is valid, in years")
	fs.StringVar(&a.dataDir, "data-dir", "default.proxy", "where such a certificate is kept")

	fs.DurationVar(&a.conf.DialKeepAlive, "dial-keepalive-time", 10*time.Second, "how often a silent connection to the cluster is probed")
	fs.DurationVar(&a.conf.DialKeepAliveTimeout, "dial-keepalive-timeout", 5*time.Second, "how long it may take to answer")
	fs.BoolVar(&a.conf.PermitWithoutStream, "permit-without-stream", false, "probe it without requests under way, too")
	fs.DurationVar(&a.conf.ClientMinPing, "grpc-keepalive-min-time", 5*time.Second, "how often clients may probe")
	fs.DurationVar(&a.conf.ClientPing, "grpc-keepalive-interval", time.Minute, "how often silent clients are probed")
	fs.DurationVar(&a.conf.ClientPingTimeout, "grpc-keepalive-timeout", 20*time.Second, "how long they may take to answer")
	fs.IntVar(&a.conf.MaxSendBytes, "max-send-bytes", 10<<20, "largest request")
	fs.IntVar(&a.conf.MaxRecvBytes, "max-recv-bytes", 0, "largest answer; 0 for no limit")
	fs.UintVar(&a.maxStreams, "max-concurrent-streams", 0, "streams of one client connection; 0 for no limit")
	fs.IntVar(&a.conf.RingEvents, "ring-events", 16384, "events kept for each watched range")
	fs.IntVar(&a.conf.RingBytes, "ring-bytes", 32<<20, "size of the events kept for each watched range")
	fs.DurationVar(&a.conf.ProgressInterval, "watch-progress-notify-interval", 10*time.Minute, "how often watchers that asked for it hear the revision")
	fs.BoolVar(&a.conf.Profile, "enable-pprof", false, "answer /debug/pprof/, too")
	fs.BoolVar(&a.debug, "debug", false, "log more")
}

func (a *relayArgs) complete(log *slog.Logger) error {
	a.conf.Log = log
	a.conf.Password = os.Getenv("ETCD_PASSWORD")
	a.conf.MaxStreams = uint32(min(a.maxStreams, 1<<32-1))
	if err := a.discover(); err != nil {
		return err
	}
	return a.tls(log)
}
