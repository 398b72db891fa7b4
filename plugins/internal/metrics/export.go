package metrics

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// ContentType is what a scrape is answered with.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes all metrics in the text format.
func (s *Set) Write(w io.Writer) error {
	s.sweep()
	found, err := s.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	for _, f := range found {
		s.order(f)
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	return nil
}

// order puts the labels into the order of their declaration, as APISIX writes
// them; the registry sorts them by name.
func (s *Set) order(found *dto.MetricFamily) {
	f := s.byName[found.GetName()]
	if f == nil {
		return
	}
	for _, m := range found.Metric {
		slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int {
			return slices.Index(f.labels, a.GetName()) - slices.Index(f.labels, b.GetName())
		})
	}
}

// Handler answers GET of uri with the metrics and all else with 404.
func (s *Set) Handler(uri string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != uri || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		var b bytes.Buffer
		if err := s.Write(&b); err != nil {
			http.Error(w, "Failed to retrieve metrics. err: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", ContentType)
		w.Write(b.Bytes()) // a scraper that is gone is no error of ours
	})
}
