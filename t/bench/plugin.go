package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// addedLine is one plugin in the output of BenchmarkPlugin.
var addedLine = regexp.MustCompile(`(?m)^BenchmarkPlugin/(\S+?)(?:-\d+)?\s.*?(-?[\d.]+) added-allocs\s+(-?[\d.]+) added-ns`)

// eachPlugin measures what each plugin alone adds to a plain request. A load
// through sockets tells no differences below 0.3 µs, so that it is the Go
// benchmark of a request's whole walk, without the network, that is run; each
// round is a process of its own.
func (b *bench) eachPlugin() error {
	binary := filepath.Join(b.dir, "plugins.test")
	if out, err := exec.Command("go", "test", "-c", "-o", binary, "./plugins/all").CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c: %w\n%s", err, out)
	}
	ns, allocs := map[string][]float64{}, map[string][]float64{}
	for range b.rounds {
		cmd := exec.Command(binary, "-test.run=^$", "-test.bench=^BenchmarkPlugin$", "-test.benchtime=20000x")
		cmd.Dir = filepath.Join("plugins", "all")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("BenchmarkPlugin: %w\n%s", err, out)
		}
		for _, m := range addedLine.FindAllSubmatch(out, -1) {
			name := string(m[1])
			a, _ := strconv.ParseFloat(string(m[2]), 64) // the expression lets numbers through only
			n, _ := strconv.ParseFloat(string(m[3]), 64)
			ns[name], allocs[name] = append(ns[name], n/1000), append(allocs[name], a)
		}
	}
	if len(ns) == 0 {
		return fmt.Errorf("BenchmarkPlugin reported nothing")
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s, %s, %s; %d rounds.\n\n| Plugin | µs added to a request | allocations |\n|---|---|---|\n",
		processor(), firstLine(b.binary, "version"), time.Now().UTC().Format("2006-01-02"), b.rounds)
	for _, name := range slices.Sorted(maps.Keys(ns)) {
		fmt.Fprintf(&s, "| %s | %s | %.0f |\n", name, spread(ns[name], "%.2f"), median(allocs[name]))
	}
	b.plugins = s.String()
	return nil
}

// processor is the name of this machine's.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	_, rest, ok := strings.Cut(string(text), "model name\t: ")
	if !ok {
		return "unknown processor"
	}
	name, _, _ := strings.Cut(rest, "\n")
	return name
}
