// Command bench compares Sluice with nginx and haproxy as reverse proxies over
// the same upstream, one worker each, and measures what a large configuration
// costs. It writes a table into the README.
//
// It needs nginx, haproxy, wrk and taskset, and a machine that does nothing
// else: the range behind each figure tells how far that was so. It knows the
// binary only from outside.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	dir      string
	binary   string
	rounds   int
	duration time.Duration
	conns    int
	routes   int
	changes  time.Duration
	idle     int
	upstream *server
	report   []line
	plugins  string // table of what each plugin costs
}

// row is one comparison; run adds its lines to the report.
type row struct {
	name, what string
	run        func(*bench) error
	alone      bool // needs no other programs
}

var rows = []row{
	{"plain", "small body, one processor", (*bench).plain, false},
	{"plugins", "key-auth, limit-count, prometheus, proxy-rewrite, cors", (*bench).fivePlugins, false},
	{"two", "small body, two processors", (*bench).twoProcessors, false},
	{"large", "100 KiB bodies", (*bench).largeBodies, false},
	{"headers", "12 header fields and 4 KiB request body", (*bench).headers, false},
	{"idle", "memory of idle connections", (*bench).idleConnections, false},
	{"match", "routing among 100,000 routes", (*bench).match, true},
	{"config", "loading and changing 100,000 routes", (*bench).config, false},
	{"plugin", "each plugin alone, into plugins/README.md", (*bench).eachPlugin, true},
	{scaleRow, "a gateway with a large configuration that changes; a tree of relays", (*bench).scale, false},
}

// scaleRow goes into the configuration centre's README, and runs only alone.
const scaleRow = "scale"

func main() {
	b := &bench{}
	var names []string
	for _, r := range rows {
		if r.name != scaleRow {
			names = append(names, r.name)
		}
	}
	only := flag.String("rows", strings.Join(names, ","), "rows to measure")
	flag.IntVar(&b.rounds, "rounds", 5, "interleaved rounds of each row")
	flag.DurationVar(&b.duration, "duration", 3*time.Second, "time for each proxy and round")
	flag.IntVar(&b.conns, "connections", 64, "connections of the load")
	flag.IntVar(&b.idle, "idle", 5000, "idle connections")
	flag.IntVar(&b.routes, "routes", 100_000, "routes of the row config")
	flag.DurationVar(&b.changes, "changes", time.Minute, "how long the row scale makes changes")
	flag.StringVar(&b.binary, "binary", "bin/sluice", "the binary to measure")
	write := flag.Bool("write", true, "write the table into README.md")
	flag.Parse()
	if err := b.run(strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if err := b.publish(*only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// publish prints the tables that were made, and writes each to its place.
func (b *bench) publish(only string, write bool) error {
	tables := map[string]string{"plugins/README.md": b.plugins}
	switch {
	case len(b.report) == 0:
	case only == scaleRow:
		tables["configcenter/README.md"] = b.scaleTable()
	default:
		tables["README.md"] = b.table()
	}
	for path, table := range tables {
		if table == "" {
			continue
		}
		fmt.Println(table)
		if !write {
			continue
		}
		if err := writeReadme(path, table); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) run(only []string) error {
	for _, name := range only {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			return fmt.Errorf("-rows %s: no such row", name)
		}
	}
	alone := !slices.ContainsFunc(rows, func(r row) bool { return !r.alone && slices.Contains(only, r.name) })
	if !alone {
		if err := needPrograms("nginx", "haproxy", "wrk", "taskset"); err != nil {
			return err
		}
	}
	if err := raiseFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-stop
		stopAll()
		os.RemoveAll(dir)
		os.Exit(130)
	}()
	defer stopAll()
	if !alone {
		if b.upstream, err = b.startUpstream(); err != nil {
			return err
		}
	}
	for _, r := range rows {
		if !slices.Contains(only, r.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "== %s: %s\n", r.name, r.what)
		if err := r.run(b); err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
	}
	return nil
}

// needPrograms installs what is missing when it may.
func needPrograms(names ...string) error {
	var missing []string
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			missing = append(missing, cmp.Or(map[string]string{"taskset": "util-linux"}[n], n))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	install := "apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
	if os.Getuid() != 0 {
		return fmt.Errorf("missing: %s; only root may install packages: sudo %s", strings.Join(missing, ", "), install)
	}
	if out, err := exec.Command("sh", "-c", "apt-get update -q && DEBIAN_FRONTEND=noninteractive "+install).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", install, err, out)
	}
	return nil
}

// raiseFiles lets this process and its children open as many files as they may.
func raiseFiles() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}
