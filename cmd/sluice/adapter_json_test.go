package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// post makes a request of the adapter's JSON gateway.
func post(ctx context.Context, addr, path string, body []byte) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = errors.New(string(text))
	}
	return text, err
}

// revision is that of the last write.
func revision(t *testing.T, p *spawned) int64 {
	t.Helper()
	text, err := post(t.Context(), p.addr, "/v3/kv/range", []byte(`{"key":"eA=="}`))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Header struct {
			Revision int64 `json:",string"`
		}
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

type event struct{ key, value string }

// history watches from the beginning and returns the events up to a revision.
func history(t *testing.T, p *spawned, to int64) map[int64][]event {
	t.Helper()
	all := map[int64][]event{}
	if to < 2 {
		return all
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("http://%s/v3/watch", p.addr),
		bytes.NewReader([]byte(`{"create_request":{"key":"Lw==","range_end":"MA==","start_revision":"1"}}`)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	for in := json.NewDecoder(a.Body); len(all[to]) == 0; {
		var m struct {
			Result struct {
				Events []struct {
					Kv struct {
						Key, Value  []byte
						ModRevision int64 `json:"mod_revision,string"`
					}
				}
			}
		}
		if err := in.Decode(&m); err != nil {
			t.Fatalf("revision %d does not come: %v", to, err)
		}
		for _, e := range m.Result.Events {
			all[e.Kv.ModRevision] = append(all[e.Kv.ModRevision], event{string(e.Kv.Key), string(e.Kv.Value)})
		}
	}
	return all
}
