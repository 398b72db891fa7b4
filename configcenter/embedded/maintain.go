package embedded

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Report is the state of a running store.
type Report struct {
	Version     string
	Rev         int64
	Keys        int64
	Size, InUse int64 // bytes of the database file, and of it what holds data
	Quota       int64 // bytes that the file may have
	Full        bool  // writes are refused: the alarm NOSPACE is raised
}

// Connect opens a client of the store at url. Its calls end with their context.
func Connect(url string, t *tls.Config) (*clientv3.Client, error) {
	const dial = 5 * time.Second
	return clientv3.New(clientv3.Config{Endpoints: []string{url}, TLS: t, DialTimeout: dial, Logger: zap.NewNop()})
}

// Inspect reports on the store that c speaks to.
func Inspect(ctx context.Context, c *clientv3.Client) (Report, error) {
	endpoint := c.Endpoints()[0]
	s, err := c.Status(ctx, endpoint)
	if err != nil {
		return Report{}, fmt.Errorf("store %s: %w", endpoint, err)
	}
	keys, err := c.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return Report{}, fmt.Errorf("store %s: %w", endpoint, err)
	}
	alarms, err := c.AlarmList(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("store %s: %w", endpoint, err)
	}
	r := Report{Version: s.Version, Rev: s.Header.Revision, Keys: keys.Count, Size: s.DbSize, InUse: s.DbSizeInUse, Quota: s.DbSizeQuota}
	for _, a := range alarms.Alarms {
		r.Full = r.Full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
	}
	return r, nil
}

// Relieve drops the history, gives unused space back, and lets a store that was
// full take writes again if that made room. Readers go on; writers wait.
func Relieve(ctx context.Context, c *clientv3.Client) (before, after Report, err error) {
	if before, err = Inspect(ctx, c); err != nil {
		return before, after, err
	}
	_, err = c.Compact(ctx, before.Rev, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return before, after, fmt.Errorf("compact: %w", err)
	}
	if _, err = c.Defragment(ctx, c.Endpoints()[0]); err != nil {
		return before, after, fmt.Errorf("defragment: %w", err)
	}
	if after, err = Inspect(ctx, c); err != nil || !after.Full {
		return before, after, err
	}
	if after.Quota > 0 && after.Size >= after.Quota {
		return before, after, fmt.Errorf("the store is still full: %d of %d bytes hold data; delete some", after.InUse, after.Quota)
	}
	if _, err = c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return before, after, fmt.Errorf("disarm: %w", err)
	}
	after, err = Inspect(ctx, c)
	return before, after, err
}

// Snapshot writes what the store at url holds, at one revision, to a file that
// only its owner may read.
func Snapshot(ctx context.Context, url string, t *tls.Config, path string) error {
	const dial = 5 * time.Second
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: exists already", path)
	}
	cfg := clientv3.Config{Endpoints: []string{url}, TLS: t, DialTimeout: dial, Logger: zap.NewNop()}
	if _, err := snapshot.NewV3(zap.NewNop()).Save(ctx, cfg, path); err != nil {
		os.Remove(path + ".part")
		return fmt.Errorf("snapshot of %s: %w", url, err)
	}
	return nil
}

// Restore makes the data directory dir from a snapshot. A directory that is
// there is renamed, not deleted; its new name is returned ("" if there was
// none). The store must not run. The restored one is another cluster than the
// one before, so that those who follow it read everything anew. Each member of a
// cluster is restored from the same file.
func Restore(path, dir string, l *Cluster) (kept string, err error) {
	m := snapshot.NewV3(zap.NewNop())
	if _, err := m.Status(path); err != nil {
		return "", fmt.Errorf("snapshot %s: %w", path, err)
	}
	if err := checkUnlocked(dir); err != nil {
		return "", err
	}
	now := strconv.FormatInt(time.Now().UnixNano(), 10)
	fresh := dir + ".restore-" + now
	token := "sluice-" + now
	if l != nil { // all members must come to the same
		if token, err = digest(path); err != nil {
			return "", err
		}
	}
	list, name, peer := l.members()
	err = m.Restore(snapshot.RestoreConfig{SnapshotPath: path, Name: name, OutputDataDir: fresh,
		PeerURLs: []string{peer}, InitialCluster: list, InitialClusterToken: token})
	if err != nil {
		return "", errors.Join(fmt.Errorf("snapshot %s: %w", path, err), os.RemoveAll(fresh))
	}
	if _, err := os.Lstat(dir); err == nil {
		kept = dir + ".before-" + now
		if err := os.Rename(dir, kept); err != nil {
			return "", errors.Join(err, os.RemoveAll(fresh))
		}
	} else if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	return kept, os.Rename(fresh, dir)
}

// digest names a snapshot by what is in it.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// lookTime bounds a look at the store's space.
const lookTime = 10 * time.Second

// Guard looks after the store's space until ctx ends: when it is full, it is
// relieved, which lets it take writes again unless it is full of live data. Two
// looks are every apart.
func (s *Server) Guard(ctx context.Context, every time.Duration, t *tls.Config, log *slog.Logger) {
	c, err := Connect(s.url, t)
	if err != nil {
		log.Error("the store's space is not watched", "err", err)
		return
	}
	defer c.Close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, lookTime)
		r, err := Inspect(look, c)
		cancel()
		if err != nil || !r.Full {
			continue // what is wrong with the store, those who use it say
		}
		log.Error("the store is full and refuses writes, dropping its history", "bytes", r.Size, "quota", r.Quota)
		if _, after, err := Relieve(ctx, c); err != nil {
			log.Error("the store could not be relieved", "err", err)
		} else {
			log.Info("the store takes writes again", "bytes", after.Size)
		}
	}
}
