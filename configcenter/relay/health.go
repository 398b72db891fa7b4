package relay

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/pkg/v3/debugutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// healthTimeout is how long the cluster may take before it counts as sick.
const healthTimeout = time.Second

// Handler answers /health and /metrics of the cluster with those of the relay,
// /proxy/health and /proxy/metrics of the relay alone.
func (r *Relay) Handler() http.Handler {
	mux := http.NewServeMux()
	own := promhttp.HandlerFor(r.m.registry, promhttp.HandlerOpts{})
	mux.Handle("GET /proxy/metrics", own)
	mux.HandleFunc("GET /metrics", r.metrics)
	mux.HandleFunc("GET /health", r.health)
	mux.HandleFunc("GET /proxy/health", r.health)
	if r.cfg.Profile {
		for path, h := range debugutil.PProfHandlers() {
			mux.Handle(path, h)
		}
	}
	return mux
}

// health is whether the cluster answers a read that needs a quorum: a relay
// without a cluster serves nobody.
func (r *Relay) health(w http.ResponseWriter, q *http.Request) {
	ctx, cancel := context.WithTimeout(q.Context(), healthTimeout)
	defer cancel()
	_, err := pb.NewKVClient(r.own.ActiveConnection()).Range(ctx, &pb.RangeRequest{Key: []byte("health"), CountOnly: true})
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{Health: "true"}
	w.Header().Set("Content-Type", "application/json")
	if err != nil && !alive(err) {
		answer.Health, answer.Reason = "false", "RANGE ERROR:"+status.Convert(err).Message()
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(answer) // fails only when nobody listens
}

// alive says whether an error is the answer of a cluster that works.
func alive(err error) bool {
	return status.Code(err) == codes.PermissionDenied || rpctypes.Error(err) == rpctypes.ErrUserEmpty
}

// metricsBytes bounds what is taken from the cluster's metrics.
const metricsBytes = 32 << 20

// metrics are those of a member of the cluster, with those of the relay behind.
func (r *Relay) metrics(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	q.Header.Del("Accept-Encoding") // the two parts must be plain
	q.Header.Del("Accept")
	ctx, cancel := context.WithTimeout(q.Context(), 4*healthTimeout)
	defer cancel()
	for _, e := range r.client.Endpoints() {
		body, err := r.memberMetrics(ctx, e)
		if err != nil {
			r.log.Debug("no metrics from the cluster", "endpoint", e, "err", err)
			continue
		}
		w.Write(body) // fails only when nobody listens
		break
	}
	promhttp.HandlerFor(r.m.registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, q)
}

func (r *Relay) memberMetrics(ctx context.Context, endpoint string) ([]byte, error) {
	url := endpoint
	if !strings.Contains(url, "://") {
		url = "http://" + endpoint
		if r.cfg.UpstreamTLS != nil {
			url = "https://" + endpoint
		}
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: cloned(r.cfg.UpstreamTLS), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: t}).Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, metricsBytes))
}

func cloned(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	return c.Clone()
}
