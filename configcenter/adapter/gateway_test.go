package adapter_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/memory"
)

// jsonPath is where a request is made over JSON; "" if it is not in these tests.
func jsonPath(r proto.Message) string {
	switch r.(type) {
	case *pb.PutRequest:
		return "/v3/kv/put"
	case *pb.RangeRequest:
		return "/v3/kv/range"
	case *pb.DeleteRangeRequest:
		return "/v3/kv/deleterange"
	case *pb.TxnRequest:
		return "/v3/kv/txn"
	case *pb.CompactionRequest:
		return "/v3/kv/compaction"
	case *pb.LeaseGrantRequest:
		return "/v3/lease/grant"
	case *pb.LeaseRevokeRequest:
		return "/v3/lease/revoke"
	case *pb.LeaseTimeToLiveRequest:
		return "/v3/lease/timetolive"
	case *pb.LeaseKeepAliveRequest:
		return "/v3/lease/keepalive"
	case *pb.HashKVRequest:
		return "/v3/maintenance/hashkv"
	case *pb.AlarmRequest:
		return "/v3/maintenance/alarm"
	}
	return ""
}

// post makes a request over JSON, and shows status, type and body of the answer.
func (p *pairing) post(ctx context.Context, s *side, path string, r proto.Message) string {
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.send(ctx, s, "POST", path, body)
}

func (p *pairing) send(ctx context.Context, s *side, method, path string, body []byte) string {
	p.t.Helper()
	q := must(http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, bytes.NewReader(body)))(p.t)
	a := must(http.DefaultClient.Do(q))(p.t)
	defer a.Body.Close()
	answer := must(io.ReadAll(a.Body))(p.t)
	return fmt.Sprintln(a.StatusCode, a.Header.Get("Content-Type")) + p.plain(answer)
}

// plain is JSON without what tells servers apart, and sorted.
func (p *pairing) plain(answer []byte) string {
	var v any
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return string(answer)
	}
	p.strip(v)
	return string(must(json.Marshal(v))(p.t))
}

func (p *pairing) strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{"cluster_id", "member_id", "raft_term"} {
			if _, ok := v[key].(string); ok {
				v[key] = "a string"
			}
		}
		if ttl, ok := v["TTL"].(string); ok && len(ttl) > 2 {
			v["TTL"] = "long"
		}
		if keys, ok := v["keys"].([]any); ok { // of a lease: in no order
			slices.SortFunc(keys, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		if rev, ok := v["revision"].(string); ok {
			var n int64
			fmt.Sscan(rev, &n)
			p.rev = max(p.rev, n)
		}
		for _, part := range v {
			p.strip(part)
		}
	case []any:
		for _, part := range v {
			p.strip(part)
		}
	}
}

// Requests as lua-resty-etcd makes them, and bad ones, have the answers that
// etcd gives.
func TestGatewayLikeEtcd(t *testing.T) {
	p := &pairing{t: t, ctx: t.Context(), random: rand.New(rand.NewPCG(1, 1)), ours: dial(t, serve(t, memory.New())), etcd: dial(t, realEtcd(t))}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v3/kv/put", `{"key":"L2E=","value":"MQ=="}`},
		{"POST", "/v3/kv/put", `{"key":"L2I=","value":"Mg==","prev_kv":true,"lease":"0"}`},
		{"POST", "/v3/kv/put", `{"key":"L2I=","value":"Mw==","prev_kv":true,"lease":0}`},
		{"POST", "/v3/kv/put", `{"key":"L2I=","value":"Mw==","prevKv":true}`},
		{"POST", "/v3/kv/put", `{"key":"L2I=","value":"Mw==","unknown":1}`},
		{"POST", "/v3/kv/put", `{"key":"L2I","value":"Mw"}`},
		{"POST", "/v3/kv/put", `{"key":"***"}`},
		{"POST", "/v3/kv/put", `{"key":1}`},
		{"POST", "/v3/kv/put", `{`},
		{"POST", "/v3/kv/put", ``},
		{"POST", "/v3/kv/put", `[]`},
		{"GET", "/v3/kv/put", ``},
		{"PUT", "/v3/kv/put", `{}`},
		{"POST", "/v3/kv/range", `{"key":"L2E="}`},
		{"POST", "/v3/kv/range", `{"key":"Lw==","range_end":"MA==","limit":1,"sort_order":"DESCEND","sort_target":"MOD"}`},
		{"POST", "/v3/kv/range", `{"key":"Lw==","range_end":"MA==","limit":"1","sort_order":2,"keys_only":true}`},
		{"POST", "/v3/kv/range", `{"key":"Lw==","range_end":"MA==","count_only":true,"serializable":false}`},
		{"POST", "/v3/kv/range", `{"key":"L24="}`},
		{"POST", "/v3/kv/range", `{"key":"L24=","revision":"99"}`},
		{"POST", "/v3/kv/range", `{}`},
		{"POST", "/v3/kv/txn", `{"compare":[{"target":"CREATE","key":"L3Q=","create_revision":0}],"success":[{"requestPut":{"key":"L3Q=","value":"MQ=="}}],"failure":[]}`},
		{"POST", "/v3/kv/txn", `{"compare":[{"key":"L3Q=","result":"EQUAL","target":"MOD","mod_revision":"2"}],"success":[{"requestPut":{"key":"L3Q=","value":"Mg=="}}],"failure":[{"request_range":{"key":"L3Q="}}]}`},
		{"POST", "/v3/kv/txn", `{"compare":[{"key":"L3Q=","result":"GREATER","target":"VALUE","value":"MA=="}],"success":[{"requestDeleteRange":{"key":"L3Q=","prev_kv":true}}]}`},
		{"POST", "/v3/kv/deleterange", `{"key":"L2I=","prev_kv":true}`},
		{"POST", "/v3/kv/deleterange", `{"key":"L24="}`},
		{"POST", "/v3/lease/grant", `{"TTL":600,"ID":0}`},
		{"POST", "/v3/lease/grant", `{"TTL":"600","ID":"12"}`},
		{"POST", "/v3/lease/grant", `{"TTL":600,"ID":12}`},
		{"POST", "/v3/lease/keepalive", `{"ID":"12"}`},
		{"POST", "/v3/lease/keepalive", `{"ID":"13"}`},
		{"POST", "/v3/lease/timetolive", `{"ID":"12","keys":true}`},
		{"POST", "/v3/kv/lease/timetolive", `{"ID":"12","keys":true}`},
		{"POST", "/v3/lease/revoke", `{"ID":"12"}`},
		{"POST", "/v3/kv/lease/revoke", `{"ID":"12"}`},
		{"POST", "/v3/kv/lease/leases", `{}`},
		{"POST", "/v3/kv/compaction", `{"revision":"3","physical":true}`},
		{"POST", "/v3/kv/compaction", `{"revision":"3"}`},
		{"POST", "/v3/maintenance/alarm", `{"action":"GET"}`},
		{"POST", "/v3/maintenance/hashkv", `{}`},
		{"POST", "/v3/maintenance/defragment", `{}`},
		{"POST", "/v3/auth/status", `{}`},
		{"POST", "/v3/auth/authenticate", `{"name":"root","password":"x"}`},
		{"POST", "/v3/auth/user/list", `{}`},
		{"POST", "/v3/auth/user/get", `{"name":"root"}`},
		{"POST", "/v3/auth/role/add", `{"name":"r"}`},
		{"POST", "/v3/auth/role/get", `{"role":"r"}`},
		{"POST", "/v3/watch", `{}`},
		{"POST", "/v3/watch", `{"create_request":{"key":"Lw==","start_revision":1}}`},
		{"POST", "/v3/nothing", `{}`},
		{"GET", "/version", ``},
		{"GET", "/health", ``},
		{"GET", "/nothing", ``},
	} {
		if c.path == "/v3/watch" {
			p.sameLines(c.body, 2)
			continue
		}
		got, want := p.send(p.ctx, p.ours, c.method, c.path, []byte(c.body)), p.send(p.ctx, p.etcd, c.method, c.path, []byte(c.body))
		if got = withoutIDs(got); got != withoutIDs(want) {
			t.Errorf("%s %s %s\n got %s\nwant %s", c.method, c.path, c.body, got, withoutIDs(want))
		}
	}
}

// withoutIDs takes out a lease's id that the server chose.
func withoutIDs(answer string) string {
	if i := strings.Index(answer, `"ID":"`); i >= 0 && len(answer) > i+15 && answer[i+14] != '"' {
		if end := strings.IndexByte(answer[i+6:], '"'); end > 5 {
			return answer[:i+6] + "chosen" + answer[i+6+end:]
		}
	}
	return answer
}

// Each event of a watch is a line of its own, as soon as it happens.
func TestGatewayWatch(t *testing.T) {
	p := &pairing{t: t, ctx: t.Context(), random: rand.New(rand.NewPCG(1, 1)), ours: dial(t, serve(t, memory.New())), etcd: dial(t, realEtcd(t))}
	ours, etcd := p.lines(p.ours, `{"create_request":{"key":"Lw==","range_end":"MA==","prev_kv":true,"filters":[]}}`), p.lines(p.etcd, `{"create_request":{"key":"Lw==","range_end":"MA==","prev_kv":true}}`)
	p.sameLine(ours, etcd)
	for _, r := range []proto.Message{
		&pb.PutRequest{Key: []byte("/a"), Value: []byte{0, 255}}, &pb.PutRequest{Key: []byte("/a"), Value: []byte("2")},
		&pb.DeleteRangeRequest{Key: []byte("/a")},
		&pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("/b")}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("/c")}}},
		}},
	} {
		p.same(r)
		p.sameLine(ours, etcd)
	}
}

// lines makes a watch and returns what comes, line by line.
func (p *pairing) lines(s *side, body string) func() string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	p.t.Cleanup(cancel)
	q := must(http.NewRequestWithContext(ctx, "POST", "http://"+s.addr+"/v3/watch", strings.NewReader(body)))(p.t)
	a := must(http.DefaultClient.Do(q))(p.t)
	p.t.Cleanup(func() { a.Body.Close() })
	in := bufio.NewReader(a.Body)
	return func() string {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			p.t.Error(err)
		}
		return fmt.Sprintln(a.StatusCode, a.Header.Get("Content-Type")) + p.plain(line)
	}
}

func (p *pairing) sameLine(ours, etcd func() string) {
	p.t.Helper()
	if got, want := ours(), etcd(); got != want {
		p.t.Errorf("watch\n got %s\nwant %s", got, want)
	}
}

// sameLines compares the first lines of a watch.
func (p *pairing) sameLines(body string, n int) {
	p.t.Helper()
	if body == "{}" {
		return // etcd waits for a real request, for ever
	}
	ours, etcd := p.lines(p.ours, body), p.lines(p.etcd, body)
	for range n {
		p.sameLine(ours, etcd)
	}
}

// A user over JSON: the token comes in the header that lua-resty-etcd sends.
func TestGatewayUser(t *testing.T) {
	p := &pairing{t: t, ctx: t.Context(), ours: dial(t, serve(t, memory.New())), etcd: dial(t, realEtcd(t))}
	token := map[*side]string{}
	for _, c := range []struct{ path, body, as string }{
		{"/v3/auth/user/add", `{"name":"root","password":"secret"}`, ""},
		{"/v3/auth/user/grant", `{"user":"root","role":"root"}`, ""},
		{"/v3/auth/enable", `{}`, ""},
		{"/v3/kv/put", `{"key":"L2E=","value":"MQ=="}`, ""},
		{"/v3/auth/authenticate", `{"name":"root","password":"wrong"}`, ""},
		{"/v3/auth/authenticate", `{"name":"root","password":"secret"}`, ""},
		{"/v3/kv/put", `{"key":"L2E=","value":"MQ=="}`, "root"},
		{"/v3/kv/range", `{"key":"L2E="}`, "root"},
		{"/v3/kv/range", `{"key":"L2E="}`, "somebody"},
		{"/v3/auth/user/get", `{"name":"root"}`, "root"},
		{"/v3/auth/disable", `{}`, "root"},
	} {
		var said []string
		for _, s := range []*side{p.ours, p.etcd} {
			ctx, cancel := context.WithTimeout(p.ctx, patience)
			defer cancel()
			q := must(http.NewRequestWithContext(ctx, "POST", "http://"+s.addr+c.path, strings.NewReader(c.body)))(t)
			switch c.as {
			case "root":
				q.Header.Set("Authorization", token[s])
			case "somebody":
				q.Header.Set("Authorization", "guessed.1") // etcd waits for the entry of its log that a token names
			}
			a := must(http.DefaultClient.Do(q))(t)
			text := must(io.ReadAll(a.Body))(t)
			a.Body.Close()
			var r struct{ Token string }
			if json.Unmarshal(text, &r) == nil && r.Token != "" {
				token[s] = r.Token
			}
			said = append(said, fmt.Sprintln(a.StatusCode)+strings.Replace(p.plain(text), "\""+token[s]+"\"", "TOKEN", 1))
		}
		if said[0] != said[1] {
			t.Errorf("%s %s\n got %s\nwant %s", c.path, c.body, said[0], said[1])
		}
	}
}
