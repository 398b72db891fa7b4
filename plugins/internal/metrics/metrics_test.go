package metrics

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func open(t *testing.T, attr string) *Set {
	t.Helper()
	a, err := ReadAttr([]byte(attr))
	if err != nil {
		t.Fatal(err)
	}
	s, release := Open(new(plugins.Shared), a, func() time.Time { return time.Unix(1000, 0) })
	t.Cleanup(release)
	return s
}

func text(t *testing.T, s *Set) string {
	t.Helper()
	var b strings.Builder
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSeriesAreBounded(t *testing.T) {
	s := open(t, `{"metrics":{"http_status":{"extra_labels":[{"x":"$http_x"}]}}}`)
	s.limit = 100
	r := s.NewRequests(false, nil)
	c := plugintest.Request("GET", "/")
	plugintest.Respond(c, 200)
	for i := range 110 {
		c.Req.Header.Set("X", strconv.Itoa(i))
		r.Count(c)
	}
	out := text(t, s)
	if n := strings.Count(out, "\napisix_http_status{"); n != 100 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(out, "apisix_nginx_metric_errors_total 10\n") {
		t.Error("what was left out is not counted")
	}
}

func TestGroupsAreBounded(t *testing.T) {
	s := open(t, `{"metrics":{"http_status":{"extra_labels":[{"x":"$http_x"}]}}}`)
	r := s.NewRequests(false, map[string][]string{"http_status": {"x"}})
	c := plugintest.Request("GET", "/")
	plugintest.Respond(c, 200)
	for i := range maxGroups + 100 {
		c.Req.Header.Set("X", strconv.Itoa(i))
		r.Count(c)
	}
	if len(r.groups) > maxGroups {
		t.Errorf("%d groups", len(r.groups))
	}
}

func TestLabelsCannotBreakTheFormat(t *testing.T) {
	s := open(t, `{"metrics":{"bandwidth":{"extra_labels":[{"x":"$http_x"}]}}}`)
	r := s.NewRequests(false, nil)
	c := plugintest.Request("GET", "/", "X: \xff\xfe\"} 1\nfoo 2")
	plugintest.Respond(c, 200)
	r.Count(c)
	for line := range strings.Lines(text(t, s)) {
		if strings.HasPrefix(line, "foo") {
			t.Errorf("line %q", line)
		}
	}
}

func TestConcurrently(t *testing.T) {
	s := open(t, `{"metrics":{"http_status":{"expire":0.000001}}}`)
	r := s.NewRequests(false, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				c := plugintest.Request("GET", "/")
				plugintest.Respond(c, 200+i%3)
				r.Count(c)
			}
		})
	}
	for range 10 {
		text(t, s)
	}
	wg.Wait()
	if !strings.Contains(text(t, s), `apisix_http_latency_count{type="request",route="",service="",consumer="",node="",`+
		`request_type="traditional_http",request_llm_model="",llm_model=""} 800`) {
		t.Error("some requests were not counted")
	}
}

func TestReadAttr(t *testing.T) {
	a, err := ReadAttr(nil)
	if err != nil || a.EnableExportServer || a.ExportAddr.Port != 9091 || a.MetricPrefix != "apisix_" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := ReadAttr([]byte(`{"default_buckets":"x"}`)); err == nil ||
		!strings.Contains(err.Error(), "plugin_attr.prometheus") {
		t.Errorf("%v", err)
	}
}
