package adapter_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/memory"
)

// With TLS, too, gRPC and JSON are on one port: clients of JSON may offer HTTP/2
// beside HTTP/1.1, and certificates may be found for each connection.
func TestTLS(t *testing.T) {
	model := httptest.NewTLSServer(nil) // it has a certificate
	model.Close()
	pool := x509.NewCertPool()
	pool.AddCert(model.Certificate())
	plain := &tls.Config{Certificates: model.TLS.Certificates}
	for name, c := range map[string]*tls.Config{
		"one for all":         plain,
		"for each connection": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return plain, nil }},
		"none for this one":   {Certificates: plain.Certificates, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serveConfig(t, adapter.Config{Backend: memory.New(), TLS: c})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			trust := &tls.Config{RootCAs: pool}
			conn := must(grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(trust))))(t)
			defer conn.Close()
			must(pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")}))(t)
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}}
			defer client.CloseIdleConnections()
			q := must(http.NewRequestWithContext(ctx, "POST", "https://"+addr+"/v3/kv/range", bytes.NewReader([]byte(`{"key":"YQ=="}`))))(t)
			a := must(client.Do(q))(t)
			defer a.Body.Close()
			text := must(io.ReadAll(a.Body))(t)
			if a.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"value":"MQ=="`)) {
				t.Errorf("%s %s", a.Status, text)
			}
		})
	}
}
