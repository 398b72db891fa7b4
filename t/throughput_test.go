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

// TestThroughput measures, when it is told to by -throughput.
func TestThroughput(t *testing.T) {
	if *throughputTable == "" {
		return
	}
	backendtest.OnDisk = true // it runs alone: no server was started in memory before
	var rows bytes.Buffer
	rows.WriteString("| server | store | writes/s, 1 client | writes/s, 64 clients | reads/s, 64 clients | write to event, p50 | p99 |\n|---|---|---:|---:|---:|---:|---:|\n")
	for _, c := range contenders() {
		t.Run(c.name+" "+c.where, func(t *testing.T) {
			row := "| " + c.name + " | " + c.where + " |"
			for _, cell := range measure(t, c.start(t), strings.HasPrefix(c.name, "kine")) {
				row += " " + cell + " |"
			}
			t.Log(row)
			rows.WriteString(row + "\n")
		})
	}
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

// measure returns the cells of a row. Somebody else's server may fail under
// load; that is what its cell says then.
func measure(t *testing.T, addr string, mayFail bool) (cells []string) {
	b := &bench{}
	for range 8 {
		b.clients = append(b.clients, connect(t, addr))
	}
	add := func(err error, figures ...string) {
		if err != nil && !mayFail {
			t.Fatal(err)
		}
		for i := range figures {
			if err != nil {
				t.Log(err)
				figures[i] = "fails"
			}
		}
		cells = append(cells, figures...)
	}
	for _, m := range []struct {
		clients int
		do      func(context.Context, *clientv3.Client) error
	}{{1, b.write}, {64, b.write}, {64, b.read}} {
		n, err := b.rate(m.clients, m.do)
		add(err, fmt.Sprintf("%.0f", n))
	}
	p50, p99, err := b.delays()
	add(err, fmt.Sprintf("%.1f ms", ms(p50)), fmt.Sprintf("%.1f ms", ms(p99)))
	return cells
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
	_, err := c.Get(ctx, fmt.Sprintf("/registry/bench/%d", 1+time.Now().UnixNano()%b.keys.Load()))
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
