// Command relaybench measures how the relay fans out a watch, beside etcd's own
// grpc-proxy and etcd alone: thousands of clients watch a prefix while it is
// written to. It writes a table into the relay's README.
//
// Everything runs on this machine and shares its processors: the cluster, what
// is measured, and the clients. It knows the programs only from outside.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	dir, binary, etcd string
	watchers, stuck   int
	rate              int
	duration          time.Duration
	rows              []row
}

// row is what was measured of one subject.
type row struct {
	name              string
	watchers          int
	rate              int
	failed            string // why there is nothing more
	p50, p99, longest time.Duration
	complete          int // watchers that got everything, in order, once
	streams           float64
	memory            float64 // bytes per watcher
	cpu               float64 // processors
	messages          int64   // in which the events came
	stuck             int
	stuckP99          time.Duration // with clients that do not read
	calmP99           time.Duration // without, just before and after
}

func main() {
	b := &bench{}
	flag.StringVar(&b.binary, "binary", "bin/sluice", "the binary to measure")
	flag.StringVar(&b.etcd, "etcd", "", "etcd and its grpc-proxy; built from t/relaybench/etcd when empty")
	flag.IntVar(&b.watchers, "watchers", 10_000, "clients, each with a connection of its own")
	flag.IntVar(&b.rate, "rate", 100, "updates per second")
	flag.IntVar(&b.stuck, "stuck", 100, "clients that do not read")
	flag.DurationVar(&b.duration, "duration", 15*time.Second, "time for each subject")
	only := flag.String("subjects", "relay,grpc-proxy,etcd", "what to measure")
	write := flag.Bool("write", true, "write the table into the relay's README")
	flag.Parse()
	if err := b.run(strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "relaybench:", err)
		os.Exit(1)
	}
	table := b.table()
	fmt.Println(table)
	if *write {
		if err := writeReadme("configcenter/relay/README.md", table); err != nil {
			fmt.Fprintln(os.Stderr, "relaybench:", err)
			os.Exit(1)
		}
	}
}

func (b *bench) run(subjects []string) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if need := uint64(b.watchers + b.stuck + 200); l.Max < need {
		return fmt.Errorf("this machine allows %d open files and %d are needed: fewer -watchers, or ulimit -n", l.Max, need)
	}
	dir, err := os.MkdirTemp("", "sluice-relaybench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return err
	}
	if b.etcd == "" {
		fmt.Fprintln(os.Stderr, "== building etcd")
		b.etcd = filepath.Join(dir, "etcd")
		cmd := exec.Command("go", "build", "-o", b.etcd, ".")
		cmd.Dir, cmd.Stderr = "t/relaybench/etcd", os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building etcd: %w", err)
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-stop
		stopAll()
		os.RemoveAll(dir)
		os.Exit(130)
	}()
	defer stopAll()
	for _, name := range subjects {
		if err := b.subject(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// subject measures one subject with everything, and with less when it cannot
// carry that.
func (b *bench) subject(name string) error {
	for watchers := b.watchers; ; watchers /= 10 {
		fmt.Fprintf(os.Stderr, "== %s: %d watchers, %d updates/s\n", name, watchers, b.rate)
		r, err := b.measure(name, watchers)
		if err != nil {
			return err
		}
		b.rows = append(b.rows, *r)
		fmt.Fprintf(os.Stderr, "%+v\n", *r)
		if r.failed == "" && r.complete == r.watchers && r.p99 < time.Second || watchers < 1000 {
			return nil
		}
	}
}

// start starts etcd, and the subject in front of it.
func (b *bench) start(name string) (etcd, subject *process, err error) {
	var addrs [3]string
	for i := range addrs {
		if addrs[i], err = free(); err != nil {
			return nil, nil, err
		}
	}
	url := "http://" + addrs[0]
	data, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return nil, nil, err
	}
	etcd, err = launch(b.dir, b.etcd, addrs[0], url, "--data-dir", data, "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", "http://"+addrs[1],
		"--initial-advertise-peer-urls", "http://"+addrs[1], "--initial-cluster", "default=http://"+addrs[1])
	if err != nil {
		return nil, nil, err
	}
	switch name {
	case "relay":
		subject, err = launch(b.dir, b.binary, addrs[2], "http://"+addrs[2], "etcd-relay", "--endpoints", addrs[0], "--listen-addr", addrs[2], "--enable-pprof")
	case "grpc-proxy":
		subject, err = launch(b.dir, b.etcd, addrs[2], "http://"+addrs[2], "grpc-proxy", "start", "--endpoints", addrs[0],
			"--listen-addr", addrs[2], "--advertise-client-url", addrs[2])
	case "etcd":
		subject = etcd
	default:
		err = fmt.Errorf("there is no subject %q", name)
	}
	if err != nil {
		etcd.stop()
		return nil, nil, err
	}
	return etcd, subject, nil
}
