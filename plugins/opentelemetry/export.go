package opentelemetry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"sluice/plugins"
	"sluice/plugins/internal/httpout"
)

type metadata struct {
	TraceIDSource string         `json:"trace_id_source"`
	Resource      map[string]any `json:"resource"`
	Collector     struct {
		Address        string         `json:"address"`
		RequestTimeout int            `json:"request_timeout"` // seconds
		RequestHeaders map[string]any `json:"request_headers"`
	} `json:"collector"`
	Batch struct {
		DropOnQueueFull    *bool   `json:"drop_on_queue_full"`
		MaxQueueSize       int     `json:"max_queue_size"`
		BatchTimeout       float64 `json:"batch_timeout"`    // seconds
		InactiveTimeout    float64 `json:"inactive_timeout"` // seconds
		MaxExportBatchSize int     `json:"max_export_batch_size"`
	} `json:"batch_span_processor"`
	SetNgxVar bool `json:"set_ngx_var"`
}

// lastChance bounds what the delivery of the last spans may take.
const lastChance = 5 * time.Second

// openProcessor returns what collects and sends the spans: one for all
// instances under the same metadata. Its goroutine ends with the last of them.
func openProcessor(env *plugins.Env, md *metadata) (sdk.SpanProcessor, func(), error) {
	exporter, err := md.exporter(env.Log)
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(env.Metadata)
	p, release := plugins.Share(env.Shared, "opentelemetry/"+hex.EncodeToString(sum[:]), func() sdk.SpanProcessor {
		return sdk.NewBatchSpanProcessor(exporter, md.batch()...)
	}, func(p sdk.SpanProcessor) {
		ctx, stop := context.WithTimeout(context.Background(), lastChance)
		defer stop()
		if err := p.Shutdown(ctx); err != nil {
			env.Log.Error("spans are lost", "err", err)
		}
	})
	return p, release, nil
}

// The schema bounds none of these, and the SDK takes them as they are: it makes
// the whole queue at once, and without a time to wait it never rests.
const (
	maxQueue = 1 << 20 // spans
	minWait  = time.Millisecond
	maxWait  = time.Hour
)

func (md *metadata) batch() []sdk.BatchSpanProcessorOption {
	wait := 2.0
	for _, t := range []float64{md.Batch.InactiveTimeout, md.Batch.BatchTimeout} {
		if t > 0 {
			wait = min(max(t, minWait.Seconds()), maxWait.Seconds())
			break
		}
	}
	opts := []sdk.BatchSpanProcessorOption{sdk.WithBatchTimeout(time.Duration(wait * float64(time.Second)))}
	queue := 2048
	if n := md.Batch.MaxQueueSize; n > 0 {
		queue = min(n, maxQueue)
		opts = append(opts, sdk.WithMaxQueueSize(queue))
	}
	size := 256
	if n := md.Batch.MaxExportBatchSize; n > 0 {
		size = n
	}
	return append(opts, sdk.WithMaxExportBatchSize(min(size, queue)))
}

func (md *metadata) exporter(log *slog.Logger) (sdk.SpanExporter, error) {
	address := md.Collector.Address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	// The SDK would say it on its own and send to another place.
	if err := httpout.CheckAddress(address); err != nil {
		return nil, fmt.Errorf("collector.address: %w", err)
	}
	headers := map[string]string{}
	for name, value := range md.Collector.RequestHeaders {
		headers[name] = fmt.Sprint(value)
	}
	client := &http.Client{ // a transport of its own: no proxy of the environment, and it can be ended
		Transport: &http.Transport{ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second},
		Timeout:   time.Duration(md.Collector.RequestTimeout) * time.Second,
	}
	e, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(strings.TrimSuffix(address, "/")+"/v1/traces"),
		otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	return reporting{e, client, log}, nil
}

// reporting says in the gateway's log what the SDK would say on a global one,
// and leaves no connections behind.
type reporting struct {
	sdk.SpanExporter
	client *http.Client
	log    *slog.Logger
}

func (r reporting) Shutdown(ctx context.Context) error {
	defer r.client.CloseIdleConnections()
	return r.SpanExporter.Shutdown(ctx)
}

func (r reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil {
		r.log.Error("spans are lost", "spans", len(spans), "err", err)
	}
	return nil
}

// provider makes the tracers of one instance. It holds nothing to be closed
// but the processor, which is not its own.
func (md *metadata) provider(p sdk.SpanProcessor, s sdk.Sampler) *sdk.TracerProvider {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	list := []attribute.KeyValue{attribute.String("hostname", host)}
	if _, ok := md.Resource["service.name"]; !ok {
		list = append(list, attribute.String("service.name", "APISIX"))
	}
	for name, value := range md.Resource {
		switch v := value.(type) {
		case string:
			list = append(list, attribute.String(name, v))
		case bool:
			list = append(list, attribute.Bool(name, v))
		case json.Number:
			if f, err := v.Float64(); err == nil {
				list = append(list, attribute.Float64(name, f))
			}
		}
	}
	return sdk.NewTracerProvider(sdk.WithSpanProcessor(p), sdk.WithSampler(s),
		sdk.WithResource(resource.NewSchemaless(list...)), sdk.WithIDGenerator(ids{md.TraceIDSource == "x-request-id"}))
}

// requestKey is where ids finds the request.
type requestKey struct{}

// ids makes ids, or takes that of a new trace from the request.
type ids struct{ ofRequest bool }

// NewIDs is of sdk.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	var id trace.TraceID
	if c, ok := ctx.Value(requestKey{}).(*plugins.Ctx); ok && g.ofRequest {
		text, has := c.Req.Header.Lookup("X-Request-Id")
		if !has {
			text = c.ID()
		}
		if id, err := trace.TraceIDFromHex(strings.ToLower(text)); err == nil {
			return id, g.NewSpanID(ctx, id)
		}
	}
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	id[0] |= 1
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID is of sdk.IDGenerator.
func (g ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	id[0] |= 1
	return id
}
