package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/srv"
	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
)

// discover finds out what the endpoints are.
func (a *relayArgs) discover() error {
	if a.srv == "" {
		a.conf.Endpoints = strings.Split(a.endpoints, ",")
		return nil
	}
	found, err := srv.GetClient("etcd-client", a.srv, a.srvName)
	if err != nil {
		return fmt.Errorf("--discovery-srv %s: %w", a.srv, err)
	}
	for _, e := range found.Endpoints {
		if a.srvInsecure || strings.HasPrefix(e, "https://") {
			a.conf.Endpoints = append(a.conf.Endpoints, e)
		}
	}
	if len(a.conf.Endpoints) == 0 {
		return fmt.Errorf("--discovery-srv %s: none of %q has TLS, and --insecure-discovery is not given", a.srv, found.Endpoints)
	}
	return nil
}

func (a *relayArgs) tls(log *slog.Logger) (err error) {
	if a.cert != "" || a.key != "" || a.ca != "" || a.insecure {
		info := transport.TLSInfo{CertFile: a.cert, KeyFile: a.key, TrustedCAFile: a.ca, EmptyCN: a.cert != ""}
		if a.conf.UpstreamTLS, err = info.ClientConfig(); err != nil {
			return fmt.Errorf("--cert %s, --key %s, --cacert %s: %w", a.cert, a.key, a.ca, err)
		}
		if a.insecure {
			a.conf.UpstreamTLS.InsecureSkipVerify = true
			log.Warn("the cluster's certificates are not checked")
		}
	}
	if a.clientAuth && a.listenCA == "" {
		return errors.New("--client-cert-auth: needs --trusted-ca-file")
	}
	if a.listenCert == "" && a.listenKey == "" && !a.autoTLS {
		if a.listenCA != "" || a.listenCRL != "" {
			return errors.New("--trusted-ca-file, --client-crl-file: need --cert-file and --key-file, or --auto-tls")
		}
		return nil
	}
	info := transport.TLSInfo{CertFile: a.listenCert, KeyFile: a.listenKey}
	if info.Empty() {
		dir := filepath.Join(a.dataDir, "fixtures", "proxy")
		if info, err = transport.SelfCert(zap.NewNop(), dir, []string{"https://" + a.listen}, a.validity); err != nil {
			return fmt.Errorf("--auto-tls in %s: %w", dir, err)
		}
	}
	info.TrustedCAFile, info.ClientCertAuth = a.listenCA, a.clientAuth
	if err := a.versions(&info); err != nil {
		return err
	}
	if a.conf.TLS, err = info.ServerConfig(); err != nil {
		return fmt.Errorf("--cert-file %s, --key-file %s, --trusted-ca-file %s: %w", info.CertFile, info.KeyFile, a.listenCA, err)
	}
	info.CRLFile = a.listenCRL
	info.ConfigureCRLVerification(a.conf.TLS)
	return nil
}

func (a *relayArgs) versions(info *transport.TLSInfo) (err error) {
	if info.MinVersion, err = tlsutil.GetTLSVersion(a.listenMin); err != nil {
		return fmt.Errorf("--tls-min-version: %w", err)
	}
	if info.MaxVersion, err = tlsutil.GetTLSVersion(a.listenMax); err != nil {
		return fmt.Errorf("--tls-max-version: %w", err)
	}
	if info.MaxVersion != 0 && info.MinVersion > info.MaxVersion {
		return fmt.Errorf("--tls-min-version %s is above --tls-max-version %s", a.listenMin, a.listenMax)
	}
	if a.listenCiphers == "" {
		return nil
	}
	if info.MinVersion == tls.VersionTLS13 {
		return errors.New("--listen-cipher-suites: cannot be chosen with TLS1.3 only")
	}
	if info.CipherSuites, err = tlsutil.GetCipherSuites(strings.Split(a.listenCiphers, ",")); err != nil {
		return fmt.Errorf("--listen-cipher-suites: %w", err)
	}
	return nil
}

// metricsListener is what --metrics-addr asks for; nil when it does not.
func (a *relayArgs) metricsListener() (net.Listener, error) {
	if a.metrics == "" {
		return nil, nil
	}
	u, err := url.Parse(a.metrics)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--metrics-addr %q: must be http://HOST:PORT or https://HOST:PORT", a.metrics)
	}
	if u.Scheme == "https" && a.conf.TLS == nil {
		return nil, fmt.Errorf("--metrics-addr %q: needs --cert-file and --key-file", a.metrics)
	}
	l, err := net.Listen("tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("--metrics-addr %s: %w", a.metrics, err)
	}
	if u.Scheme == "https" {
		return tls.NewListener(l, a.conf.TLS), nil
	}
	return l, nil
}
