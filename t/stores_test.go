package t

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"sluice/configcenter/adapter/backendtest"
)

var everyScenario = flag.Bool("every", false, "run all scenarios of admin and config on each of the etcd adapter's stores")

// onStores are the scenarios that each store has to pass.
var onStores = []string{"admin/lifecycle", "admin/lists", "admin/references", "admin/lost_store", "admin/bad_in_store", "config/lastgood"}

// A gateway and its Admin API cannot tell the stores apart.
func TestStores(t *testing.T) {
	t.Parallel()
	var files []string
	for _, name := range onStores {
		files = append(files, filepath.FromSlash(name+".txtar"))
	}
	if *everyScenario {
		files = nil
		for _, subject := range []string{"admin", "config"} {
			more, err := filepath.Glob(filepath.Join(subject, "*.txtar"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, more...)
		}
	}
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			c := adapterOn(t, kind.URL(t))
			runReal(t, files, func(s *scenario) error {
				s.shared = func() (*clientv3.Client, error) { return c, nil }
				return s.launchReal()
			})
		})
	}
}

// output is what a process has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var adapterListens = regexp.MustCompile(`msg=listening service=etcd addr=(\S+)`)

// adapterOn starts "sluice etcd-adapter" on a store, for the test.
func adapterOn(t *testing.T, url string) *clientv3.Client {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd, log := exec.Command(bin, "etcd-adapter", "--backend", url, "--listen-addr", "127.0.0.1:0"), new(output)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("etcd-adapter: %v\n%s", err, log)
		}
	})
	var addr string
	err = poll(limit, func() error {
		m := adapterListens.FindStringSubmatch(log.String())
		if m == nil {
			return errors.New("the adapter does not listen")
		}
		addr = m[1]
		return nil
	})
	if err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, log))
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: limit, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
