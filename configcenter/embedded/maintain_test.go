package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A store that is full refuses writes, and takes them again once something was
// deleted and it was relieved.
func TestRelieveFullStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := start(t, Config{Dir: t.TempDir(), QuotaBytes: 4 << 20})
	defer s.Stop()
	c, err := Connect(s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	value := strings.Repeat("x", 256<<10)
	for i := 0; err == nil && i < 100; i++ {
		_, err = c.Put(ctx, fmt.Sprint("/k", i), value)
	}
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("the store does not fill: %v", err)
	}
	if r, err := Inspect(ctx, c); err != nil || !r.Full {
		t.Errorf("%+v, %v", r, err)
	}
	for i := range 100 {
		if _, err := c.Delete(ctx, fmt.Sprint("/k", i)); err != nil {
			t.Fatal(err)
		}
	}
	before, after, err := Relieve(ctx, c)
	if err != nil || !before.Full || after.Full || after.Size >= before.Size {
		t.Errorf("before %+v\nafter %+v, %v", before, after, err)
	}
	if _, err := c.Put(ctx, "/again", "1"); err != nil {
		t.Error(err)
	}
}

// The history alone fills the store: the guard drops it.
func TestGuardFreesAStoreFullOfHistory(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := start(t, Config{Dir: t.TempDir(), QuotaBytes: 4 << 20})
	defer s.Stop()
	c, err := Connect(s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	value := strings.Repeat("x", 256<<10)
	for i := 0; err == nil && i < 100; i++ {
		_, err = c.Put(ctx, "/one", value)
	}
	if err == nil {
		t.Fatal("the store does not fill")
	}
	guarding, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Guard(guarding, 10*time.Millisecond, nil, slog.New(slog.DiscardHandler))
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for err != nil && ctx.Err() == nil {
		<-tick.C
		_, err = c.Put(ctx, "/one", "1")
	}
	stop()
	<-done
	if err != nil {
		t.Error(err)
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := Restore(path, filepath.Join(dir, "etcd"), nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
