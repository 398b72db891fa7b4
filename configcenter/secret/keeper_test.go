package secret

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// vaultOf is a manager that answers with value, after wait.
type vaultOf struct {
	mu    sync.Mutex
	value string
	wait  time.Duration
	asked int
}

// RoundTrip makes it the whole network.
func (v *vaultOf) RoundTrip(r *http.Request) (*http.Response, error) {
	v.mu.Lock()
	value, wait := v.value, v.wait
	v.asked++
	v.mu.Unlock()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(wait):
	}
	w := httptest.NewRecorder()
	if value == "" {
		w.WriteHeader(503)
	} else {
		w.WriteString(`{"data":{"key":"` + value + `"}}`)
	}
	return w.Result(), nil
}

func (v *vaultOf) set(value string, wait time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value, v.wait = value, wait
}

func findVault(id string) json.RawMessage {
	if id != "vault/1" {
		return nil
	}
	return json.RawMessage(`{"uri":"http://vault.test","prefix":"kv","token":"t"}`)
}

const vaultRef = "$secret://vault/1/jack/key"

func keeperFor(t *testing.T, v *vaultOf) *Keeper {
	r, err := NewResolver(Options{TTL: time.Minute, NegTTL: 5 * time.Second, Client: &http.Client{Transport: v}})
	if err != nil {
		t.Fatal(err)
	}
	return NewKeeper(r)
}

// version resolves the reference as a version of the configuration does.
func version(k *Keeper) (value any, used string, errs []error) {
	s := k.Begin(findVault, k.Changed())
	defer s.End()
	value, errs = s.Fill(vaultRef, func(id string) { used = id })
	return value, used, errs
}

// TestKeeperRefreshes: a value that has changed at its manager is heard of when
// its time is over, without anybody waiting.
func TestKeeperRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vaultOf{value: "one"}
		k := keeperFor(t, v)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.Run(ctx)
		if got, used, errs := version(k); got != "one" || used != "vault/1" || len(errs) > 0 {
			t.Fatal(got, used, errs)
		}
		time.Sleep(2 * time.Minute) // the same value is no news
		select {
		case <-k.News():
			t.Fatal("news of nothing")
		default:
		}
		v.set("two", 3*time.Second)
		begin := time.Now()
		<-k.News()
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("heard of it after %s", took)
		}
		begin = time.Now()
		if got, _, errs := version(k); got != "two" || len(errs) > 0 || time.Since(begin) > 0 {
			t.Error(got, errs, time.Since(begin))
		}
		v.set("", 0) // the manager is down: the last value stays
		time.Sleep(10 * time.Minute)
		if got, _, _ := version(k); got != "two" {
			t.Error(got)
		}
	})
}

// TestKeeperIsPatientOnlyAMoment: a slow manager holds a version up for a
// second at most, however many references there are; the values come later.
func TestKeeperIsPatientOnlyAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vaultOf{value: "one", wait: 3 * time.Second}
		k := keeperFor(t, v)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.Run(ctx)
		begin := time.Now()
		s := k.Begin(findVault, nil)
		got, errs := s.Fill([]any{vaultRef, vaultRef + "2", vaultRef + "3"}, func(string) {})
		s.End()
		if took := time.Since(begin); took > 2*time.Second || len(errs) != 3 || !HasRef(got) {
			t.Fatalf("%v, %v after %s", got, errs, took)
		}
		<-k.News()
		if got, _, errs := version(k); got != "one" || len(errs) > 0 {
			t.Error(got, errs)
		}
	})
}

// TestKeeperForgets what is no longer in use once its manager's configuration changes.
func TestKeeperForgets(t *testing.T) {
	k := keeperFor(t, &vaultOf{value: "one"})
	version(k)
	k.Begin(findVault, []string{"vault/1"}).End()
	if len(k.refs) != 0 {
		t.Error(k.refs)
	}
	s := k.Begin(findVault, nil)
	defer s.End()
	for _, ref := range []string{"$secret://vault", "$secret://vault/1", "$secret://none/1/k"} {
		if _, errs := s.Fill(ref, func(string) {}); len(errs) != 1 {
			t.Errorf("%s: %v", ref, errs)
		}
	}
}
