package main

import (
	"encoding/json"
	"net/http"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/lastgood"
)

// state is what "sluice status" shows of a running gateway: the answer of
// GET /v1/sluice/status on the control API and /status/config on the status API.
type state struct {
	Version  string `json:"version"`
	Provider string `json:"provider"`
	Rev      int64  `json:"rev"`
	// Origin is "store", "disk" (the last good configuration, because the store
	// did not answer), or "none".
	Origin    string         `json:"origin"`
	Age       float64        `json:"age_seconds"` // since the last change came in; of one from disk since it was written
	Reachable bool           `json:"store_reachable"`
	Error     string         `json:"store_error,omitempty"`
	Saved     *time.Time     `json:"saved,omitempty"` // when the file on disk was last written
	Drifts    int64          `json:"drift_healed"`
	Digest    string         `json:"digest"`          // of what is in force: equal where the same serves
	Applied   int64          `json:"changes_applied"` // since the start
	Problems  []stateProblem `json:"problems"`
}

// stateProblem is an object that is not in use as it is stored.
type stateProblem struct {
	Key   string `json:"key"`
	Rev   int64  `json:"rev"`
	Error string `json:"error"`
}

func (p *parts) state() state {
	s := state{Version: versionText(), Provider: p.cfg.Provider, Rev: p.gateway.Rev(), Origin: string(lastgood.Nowhere),
		Reachable: p.center.reached(), Problems: []stateProblem{},
		Digest: p.gateway.Snapshot().Digest(), Applied: p.gateway.Applied()}
	if p.gateway.Started() {
		s.Origin = string(lastgood.Store)
	}
	if d := p.center.disk; d != nil {
		st := d.Status()
		s.Origin, s.Drifts = string(st.Origin), p.center.etcd.Drifts()
		if !st.Taken.IsZero() {
			s.Age = time.Since(st.Taken).Seconds()
		}
		if !st.Written.IsZero() {
			s.Saved = &st.Written
		}
		if st.Err != nil && !s.Reachable {
			s.Error = st.Err.Error()
		}
	}
	for _, problem := range p.gateway.Problems() {
		s.Problems = append(s.Problems, stateProblem{Rev: problem.Rev, Error: problem.Err.Error(),
			Key: p.center.store.Prefix() + configcenter.Path(problem.Kind, problem.ID)})
	}
	return s
}

// withState answers GET at path with the state, and leaves the rest to h.
func (p *parts) withState(h http.Handler, path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path || r.Method != http.MethodGet {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.state()) // a client that went away needs no answer
	})
}
