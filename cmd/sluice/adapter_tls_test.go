package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestAdapterTLS: who signs clients' certificates being told, clients must have
// one; and a certificate that is renewed counts.
func TestAdapterTLS(t *testing.T) {
	own, renewed, clients := identity(t, "adapter"), identity(t, "adapter"), identity(t, "client")
	s := start("etcd-adapter", "--listen-addr", "127.0.0.1:0", "--cert-file", own.CertFile, "--key-file", own.KeyFile, "--trusted-ca-file", clients.CertFile)
	defer s.stop(t)
	addr := ""
	s.wait(t, "listening", func() bool {
		m := listening.FindStringSubmatch(s.stderr.String())
		if m != nil {
			addr = m[1]
		}
		return m != nil
	})
	get := func(certs ...tls.Certificate) (*x509.Certificate, error) {
		tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs}}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + addr + "/version")
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		return resp.TLS.PeerCertificates[0], nil
	}
	if _, err := get(); err == nil {
		t.Error("a client without a certificate was answered")
	}
	pair, err := tls.LoadX509KeyPair(clients.CertFile, clients.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	before, err := get(pair)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{renewed.CertFile: own.CertFile, renewed.KeyFile: own.KeyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := get(pair); err != nil || after.Equal(before) {
		t.Errorf("a renewed certificate does not count, %v", err)
	}
}

func TestAdapterUsage(t *testing.T) {
	own := identity(t, "adapter")
	for want, args := range map[string][]string{
		"want --cert-file and --key-file": {"--trusted-ca-file", own.CertFile},
		"needs --trusted-ca-file":         {"--cert-file", own.CertFile, "--key-file", own.KeyFile, "--client-cert-auth"},
		own.KeyFile + " has no":           {"--cert-file", own.CertFile, "--key-file", own.KeyFile, "--trusted-ca-file", own.KeyFile},
		"--cert-file none":                {"--cert-file", "none", "--key-file", own.KeyFile},
		"--backend: ":                     {"--backend", "none:"},
	} {
		if out := finish(t, 1, append([]string{"etcd-adapter", "--listen-addr", "127.0.0.1:0"}, args...)...); !strings.Contains(out, want) {
			t.Errorf("%v: %s", args, out)
		}
	}
}
