package t

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"sluice/configcenter/adapter/backendtest"
)

var (
	throughputTable = flag.String("throughput", "", "measure the etcd adapter beside etcd and kine, and write the table into this file")
	throughputTime  = flag.Duration("throughput-time", 3*time.Second, "of each measurement")
	kineProgram     = flag.String("kine", "", "kine's program; without it kine is left out")
)

// asEtcd makes this test's binary an etcd whose data is in the named folder.
const asEtcd = "SLUICE_TEST_ETCD"

// contender is one server that is measured.
type contender struct {
	name, where string
	start       func(t *testing.T) (addr string)
}

func contenders() []contender {
	on := func(kind string) func(*testing.T) string {
		i := slices.IndexFunc(backendtest.Kinds, func(k backendtest.Kind) bool { return k.Name == kind })
		return func(t *testing.T) string { return adapterOn(t, backendtest.Kinds[i].URL(t)).Endpoints()[0] }
	}
	all := []contender{
		{"adapter", "memory", on("memory")}, {"adapter", "memory with a file", on("file")}, {"adapter", "SQLite", on("sqlite")},
		{"adapter", "PostgreSQL", on("postgres")}, {"adapter", "MariaDB", on("mysql")},
		{"etcd 3.7.3", "its own file", func(t *testing.T) string { return spawn(t, []string{asEtcd + "=" + t.TempDir()}, os.Args[0]) }},
	}
	if *kineProgram != "" {
		kine := func(endpoint func(*testing.T) string) func(*testing.T) string {
			return func(t *testing.T) string {
				return spawn(t, nil, *kineProgram, "--endpoint", endpoint(t), "--listen-address", "tcp://ADDR", "--metrics-bind-address", "0")
			}
		}
		url := func(kind string) func(*testing.T) string {
			i := slices.IndexFunc(backendtest.Kinds, func(k backendtest.Kind) bool { return k.Name == kind })
			return func(t *testing.T) string { return backendtest.Kinds[i].URL(t) }
		}
		all = append(all,
			contender{"kine 0.17.5", "SQLite", kine(func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "kine.db") })},
			contender{"kine 0.17.5", "PostgreSQL", kine(url("postgres"))},
			contender{"kine 0.17.5", "MariaDB", kine(url("mysql"))})
	}
	return all
}

// spawn starts a program with "ADDR" replaced by a free address, and returns
// the address when it answers as an etcd.
func spawn(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ADDR", addr)
	}
	cmd, log := exec.Command(program, args...), new(output)
	cmd.Env = append(append(os.Environ(), env...), asEtcd+"_ADDR="+addr)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c := connect(t, addr)
	err = poll(limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "/registry/none")
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, log)
	}
	return addr
}

func connect(t *testing.T, addr string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: limit, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// beEtcd runs an etcd until the process is killed.
func beEtcd(dir, addr string) error {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = dir, "error"
	client, peer := url.URL{Scheme: "http", Host: addr}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	return <-e.Err()
}

// speed is what one server did.
type speed struct {
	writes1, writes64, reads64 float64 // per second
	p50, p99                   time.Duration
}

// TestThroughput measures, when it is told to by -throughput.
func TestThroughput(t *testing.T) {
	if *throughputTable == "" {
		return
	}
	var rows bytes.Buffer
	rows.WriteString("| server | store | writes/s, 1 client | writes/s, 64 clients | reads/s, 64 clients | write to event, p50 | p99 |\n|---|---|---:|---:|---:|---:|---:|\n")
	for _, c := range contenders() {
		t.Run(c.name+" "+c.where, func(t *testing.T) {
			s, err := measure(t, c.start(t))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&rows, "| %s | %s | %.0f | %.0f | %.0f | %.1f ms | %.1f ms |\n", c.name, c.where, s.writes1, s.writes64, s.reads64, ms(s.p50), ms(s.p99))
		})
	}
	t.Log("\n" + rows.String())
	if t.Failed() {
		return
	}
	if err := putTable(*throughputTable, rows.String()); err != nil {
		t.Fatal(err)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// putTable writes the table between the marks of a file.
func putTable(path, table string) error {
	const begin, end = "<!-- throughput:start -->\n", "<!-- throughput:end -->"
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for the table: %s", path, strings.TrimSpace(begin))
	}
	return os.WriteFile(path, []byte(before+begin+table+end+after), 0o644)
}

// bench is what is measured on one server.
type bench struct {
	clients []*clientv3.Client
	keys    atomic.Int64
}

func measure(t *testing.T, addr string) (s speed, err error) {
	b := &bench{}
	for range 8 {
		b.clients = append(b.clients, connect(t, addr))
	}
	if s.writes1, err = b.rate(1, b.write); err != nil {
		return s, fmt.Errorf("writes: %w", err)
	}
	if s.writes64, err = b.rate(64, b.write); err != nil {
		return s, fmt.Errorf("writes: %w", err)
	}
	if s.reads64, err = b.rate(64, b.read); err != nil {
		return s, fmt.Errorf("reads: %w", err)
	}
	s.p50, s.p99, err = b.delays()
	return s, err
}

// rate is how often many can do something in a second.
func (b *bench) rate(many int, do func(ctx context.Context, c *clientv3.Client) error) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), *throughputTime+limit)
	defer cancel()
	var n atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, many)
	start := time.Now()
	for i := range many {
		all.Go(func() {
			for time.Since(start) < *throughputTime {
				if err := do(ctx, b.clients[i%len(b.clients)]); err != nil {
					failed <- err
					return
				}
				n.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	select {
	case err := <-failed:
		return 0, err
	default:
		return float64(n.Load()) / took.Seconds(), nil
	}
}

var value = strings.Repeat("x", 512)

// write makes a new key, by the one kind of write that kine knows too.
func (b *bench) write(ctx context.Context, c *clientv3.Client) error {
	return create(ctx, c, fmt.Sprintf("/registry/bench/%d", b.keys.Add(1)), value)
}

func create(ctx context.Context, c *clientv3.Client, key, value string) error {
	r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value)).Commit()
	if err == nil && !r.Succeeded {
		err = errors.New("the key was there already: " + key)
	}
	return err
}

func (b *bench) read(ctx context.Context, c *clientv3.Client) error {
	r, err := c.Get(ctx, fmt.Sprintf("/registry/bench/%d", 1+time.Now().UnixNano()%b.keys.Load()))
	if err == nil && len(r.Kvs) != 1 {
		err = errors.New("a key is not there")
	}
	return err
}

// delays is how long it takes from the request of a write until somebody who
// watches has its event; there are 100 writes a second.
func (b *bench) delays() (p50, p99 time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), *throughputTime+limit)
	defer cancel()
	const prefix = "/registry/watch/"
	events := b.clients[0].Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if w := <-events; w.Err() != nil {
		return 0, 0, w.Err()
	}
	n := int(*throughputTime / (10 * time.Millisecond))
	begun, start := make([]atomic.Int64, n), time.Now()
	failed := make(chan error, 1)
	go func() { // ends with its last write
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := range n {
			begun[i].Store(int64(time.Since(start)))
			if err := create(ctx, b.clients[1], fmt.Sprintf("%s%d", prefix, i), value); err != nil {
				failed <- err
				return
			}
			<-tick.C
		}
	}()
	var took []time.Duration
	for len(took) < n {
		select {
		case w, ok := <-events:
			if !ok || w.Err() != nil {
				return 0, 0, fmt.Errorf("watch: %w", errors.Join(w.Err(), ctx.Err()))
			}
			for range w.Events {
				took = append(took, time.Since(start)-time.Duration(begun[len(took)].Load()))
			}
		case err := <-failed:
			return 0, 0, err
		}
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100], nil
}
