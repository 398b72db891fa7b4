package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// identity is a certificate that is its own authority, for 127.0.0.1 and for clients.
func identity(t *testing.T, name string) transport.TLSInfo {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	info := transport.TLSInfo{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), TrustedCAFile: filepath.Join(dir, "cert.pem")}
	for path, b := range map[string]*pem.Block{info.CertFile: {Type: "CERTIFICATE", Bytes: der}, info.KeyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return info
}

// secureEtcd starts an etcd that wants certificates, and returns its URL.
func secureEtcd(t *testing.T, info transport.TLSInfo) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.UnsafeNoFsync, c.LogLevel, c.LogOutputs = t.TempDir(), true, "panic", []string{"/dev/null"}
	c.ClientTLSInfo = info
	c.ClientTLSInfo.ClientCertAuth = true
	local := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	secure := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{secure}, []url.URL{secure}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{local}, []url.URL{local}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatal("etcd is not ready")
	}
	return "https://" + e.Clients[0].Addr().String()
}

var relayListening = regexp.MustCompile(`(?s)msg=listening service="etcd relay" addr=(\S+).* service=metrics addr=(\S+)`)

func TestRelayTLS(t *testing.T) {
	ofEtcd, ofRelay := identity(t, ""), identity(t, "relay")
	s := start("etcd-relay", "--endpoints", secureEtcd(t, ofEtcd), "--cert", ofEtcd.CertFile, "--key", ofEtcd.KeyFile, "--cacert", ofEtcd.TrustedCAFile,
		"--listen-addr", "127.0.0.1:0", "--cert-file", ofRelay.CertFile, "--key-file", ofRelay.KeyFile, "--trusted-ca-file", ofRelay.TrustedCAFile, "--client-cert-auth",
		"--metrics-addr", "http://127.0.0.1:0")
	defer s.stop(t)
	var addr, metrics string
	s.wait(t, "listening", func() bool {
		m := relayListening.FindStringSubmatch(s.stderr.String())
		if m != nil {
			addr, metrics = m[1], m[2]
		}
		return m != nil
	})
	conf, err := ofRelay.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	put := func(c *tls.Config) error {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + addr}, TLS: c, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err = client.Put(ctx, "a", "1")
		return err
	}
	if err := put(conf); err != nil {
		t.Fatal(err)
	}
	anonymous := conf.Clone()
	anonymous.Certificates, anonymous.GetClientCertificate = nil, nil
	if _, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: anonymous}}).Get("https://" + addr + "/health"); err == nil {
		t.Error("a client without a certificate was answered")
	}
	for url, c := range map[string]*http.Client{
		"https://" + addr:   {Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}},
		"http://" + metrics: {Transport: &http.Transport{DisableKeepAlives: true}},
	} {
		for path, want := range map[string]string{"/health": `"health":"true"`, "/metrics": "sluice_relay_upstream_watches", "/proxy/metrics": "etcd_grpc_proxy_cache_hits_total"} {
			resp, err := c.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !strings.Contains(string(body), want) {
				t.Errorf("%s%s: %s, %v", url, path, body, err)
			}
			if path == "/metrics" && !strings.Contains(string(body), "etcd_server_has_leader") {
				t.Errorf("%s%s has nothing of the cluster", url, path)
			}
		}
	}
}

func TestRelayUsage(t *testing.T) {
	named := identity(t, "alice")
	for want, args := range map[string][]string{
		"needs --trusted-ca-file":   {"--client-cert-auth"},
		"one is empty":              {"--endpoints", "a:1,"},
		"both or neither":           {"--resolver-prefix", "/r"},
		"non empty Common Name":     {"--cert", named.CertFile, "--key", named.KeyFile},
		"--tls-min-version":         {"--cert-file", named.CertFile, "--key-file", named.KeyFile, "--tls-min-version", "TLS9"},
		"must be http://HOST:PORT":  {"--metrics-addr", "x"},
		"--listen-addr 127.0.0.1:x": {"--listen-addr", "127.0.0.1:x"},
	} {
		if want != "--listen-addr 127.0.0.1:x" {
			args = append(args, "--listen-addr", "127.0.0.1:0")
		}
		s := start(append([]string{"etcd-relay"}, args...)...)
		select {
		case code := <-s.code:
			if code == 0 || !strings.Contains(s.stderr.String(), want) {
				t.Errorf("%v: exit code %d, %s", args, code, s.stderr.String())
			}
		case <-time.After(patience):
			t.Errorf("%v: was accepted", args)
			s.signals <- syscall.SIGTERM
		}
	}
}
