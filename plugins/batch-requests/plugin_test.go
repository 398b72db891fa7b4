package batchrequests

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// post sends a batch through the API to a server that stands for the gateway.
func post(t testing.TB, h http.HandlerFunc, metadata, body string, fields ...string) (int, string) {
	t.Helper()
	env := plugintest.Env()
	env.Attr = json.RawMessage(`{"real_ip_header":"X-Real-IP"}`)
	list, err := apis(env)
	if err != nil || len(list) != 1 || list[0].Path != "/apisix/batch-requests" {
		t.Fatal(list, err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Start()
	defer s.Close()
	c := plugintest.Request("POST", "/apisix/batch-requests", fields...)
	c.Req.Local = netip.MustParseAddrPort(s.Listener.Addr().(*net.TCPAddr).String())
	c.Req.Body, c.Req.ContentLength = strings.NewReader(body), int64(len(body))
	if metadata != "" {
		c.SetMetadata(func(string) json.RawMessage { return json.RawMessage(metadata) })
	}
	r, err := list[0].Serve(c)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r.Body)
	if err != nil || c.RespHeader.Get("Content-Type") != "application/json" {
		t.Fatal(err)
	}
	return r.Status, string(text)
}

func show(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header()["X-lower-UPPER"] = []string{"kept"}
	w.Header()["Set-Cookie"] = []string{"a", "b"}
	w.Header()["Date"] = nil
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(201)
	fmt.Fprintf(w, "%s %s %s host=%s c=%s d=%s ip=%s body=%s", r.Method, r.RequestURI, r.Proto, r.Host, r.Header.Values("X-C"), r.Header.Values("X-D"), r.Header.Get("X-Real-IP"), body)
}

func TestBatch(t *testing.T) {
	status, body := post(t, show, "", `{"query":{"q":"1","both":"batch"},"headers":{"X-C":"batch","X-Real-IP":"6.6.6.6"},"pipeline":[
		{"path":"/a"},
		{"path":"/b?x=1","method":"PUT","body":"text","query":{"both":"own","l":["a b",true,2],"f":true},"headers":{"x-c":["1",2]}},
		{"path":"/c","version":1.0,"headers":{"Host":"other","Content-Length":"77","X-Real-IP":"5.5.5.5"}}]}`, "X-C: outer", "Content-Type: x", "X-D: 1", "x-d: 2")
	var got []struct {
		Status       int
		Reason, Body string
		Headers      map[string]any
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || len(got) != 3 {
		t.Fatal(status, body)
	}
	for i, want := range []string{
		"GET /a?both=batch&q=1 HTTP/1.1 host=example.com c=[batch] d=[1 2] ip=127.0.0.1 body=",
		"PUT /b?x=1&both=own&f&l=a%20b&l=true&l=2&q=1 HTTP/1.1 host=example.com c=[1 2] d=[1 2] ip=127.0.0.1 body=text",
		"GET /c?both=batch&q=1 HTTP/1.0 host=other c=[batch] d=[1 2] ip=127.0.0.1 body=",
	} {
		if got[i].Body != want || got[i].Status != 201 || got[i].Reason != "Created" {
			t.Errorf("%+v", got[i])
		}
		if h := got[i].Headers; h["X-lower-UPPER"] != "kept" || fmt.Sprint(h["Set-Cookie"]) != "[a b]" {
			t.Errorf("%v", h)
		}
	}
}

// TestNoAnswer: once a request is not answered, the others are 504, too.
func TestNoAnswer(t *testing.T) {
	_, body := post(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/b" {
			panic(http.ErrAbortHandler)
		}
		w.Header()["Date"] = nil
	}, "", `{"pipeline":[{"path":"/a"},{"path":"/b"},{"path":"/c"}]}`)
	want := `[{"status":200,"reason":"OK","headers":{"Content-Length":"0"},"body":""},` +
		`{"status":504,"reason":"upstream timeout"},{"status":504,"reason":"upstream timeout"}]`
	if body != want {
		t.Error(body)
	}
}

func TestTimeout(t *testing.T) {
	_, body := post(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "", `{"timeout":500,"pipeline":[{"path":"/a"}]}`)
	if body != `[{"status":504,"reason":"upstream timeout"}]` {
		t.Error(body)
	}
}

// TestClientGone: nobody is left who waits for the answers.
func TestClientGone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	list, err := apis(plugintest.Env())
	if err != nil {
		t.Fatal(err)
	}
	c := plugintest.Request("POST", "/apisix/batch-requests")
	c.Context, c.Req.Local = ctx, netip.MustParseAddrPort(s.Listener.Addr().String())
	c.SetBody([]byte(`{"timeout":600000,"pipeline":[{"path":"/a"},{"path":"/b"}]}`))
	done := make(chan error)
	go func() { // ends with the batch
		_, err := list[0].Serve(c)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the batch goes on")
	}
}

func TestRefused(t *testing.T) {
	for _, x := range []struct {
		metadata, body string
		status         int
		want           string
	}{
		{"", ``, 400, "no request body, you should give at least one pipeline setting"},
		{"", `invalid json string`, 400, "invalid request body: invalid json string, err: Expected value but found invalid token at character 1"},
		{"", `{}`, 400, `bad request body: object matches none of the required: ["pipeline"]`},
		{"", `{"pipeline":[]}`, 400, "expect array to have at least 1 items"},
		{"", `{"timeout":0,"pipeline":[{"path":"/"}]}`, 400, "bad request body: "},
		{"", `{"pipeline":[{"path":"/","x":1}]}`, 400, "bad request body: "},
		{"", `{"pipeline":[{"method":"GET"}]}`, 400, `property "path" is required`},
		{"", `{"pipeline":[{"path":"/a b"}]}`, 400, "request failed: path "},
		{"", `{"pipeline":[{"path":"/","headers":{"a":"b\r\nc: d"}}]}`, 400, "request failed: header field a"},
		{"", `{"pipeline":[{"path":"/","headers":{"a: b\r\nc":"d"}}]}`, 400, "request failed: header field "},
		{"", `{"pipeline":[{"path":"/` + strings.Repeat("x", 1<<20) + `"}]}`, 413, "is greater than the maximum size 1048576 allowed"},
		{`{"max_body_size":5,"max_pipeline_items":2}`, `{"pipeline":[]}`, 413, "request size 15 is greater than the maximum size 5 allowed"},
		{`{"max_body_size":500,"max_pipeline_items":1}`, `{"pipeline":[{"path":"/"},{"path":"/"}]}`, 400,
			"too many pipeline requests, 2 exceeds the maximum of 1"},
	} {
		status, body := post(t, show, x.metadata, x.body)
		var e plugins.ErrorMsg
		if err := json.Unmarshal([]byte(body), &e); err != nil || status != x.status || !strings.Contains(e.ErrorMsg, x.want) {
			t.Errorf("%.60s: %d %s", x.body, status, body)
		}
	}
}

// TestUnknownLength: a body without length is told how long it was.
func TestUnknownLength(t *testing.T) {
	env := plugintest.Env()
	list, err := apis(env)
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]string{1<<20 + 4096: "request size 1052672 is", 4 << 20: "request size 2097152 is"} {
		c := plugintest.Request("POST", "/apisix/batch-requests")
		c.Req.Body, c.Req.ContentLength = strings.NewReader(strings.Repeat("1", size)), -1
		r, err := list[0].Serve(c)
		if err != nil || r.Status != 413 || !strings.Contains(r.Body.(plugins.ErrorMsg).ErrorMsg, want) {
			t.Errorf("%d: %+v %v", size, r, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	env := plugintest.Env()
	env.Attr = json.RawMessage(`{"uri":"/foo/bar"}`)
	if list, err := apis(env); err != nil || list[0].Path != "/foo/bar" {
		t.Error(list, err)
	}
	plugintest.Build(t, &Plugin, env, `{}`)
}

func FuzzText(f *testing.F) {
	f.Add("/a", "b", "c", "d")
	f.Fuzz(func(t *testing.T, path, field, value, arg string) {
		if path == "" {
			return
		}
		r := &request{Method: "GET", Path: path, Headers: map[string]any{strings.ToLower(field): value}, Query: map[string]any{arg: value}}
		text, err := r.text()
		if err != nil {
			return
		}
		if head := string(text); strings.Count(head, "\n") > 3 || strings.Count(head, "\r") > 3 {
			t.Errorf("%q", text)
		}
	})
}

func BenchmarkText(b *testing.B) {
	r := &request{Method: "GET", Path: "/a", Headers: map[string]any{"host": "a", "x-b": "c"}, Query: map[string]any{"d": "e"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.text(); err != nil {
			b.Fatal(err)
		}
	}
}
