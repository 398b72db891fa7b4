package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// table is the report as Markdown.
func (b *bench) table() string {
	var s strings.Builder
	cpu := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			cpu, _, _ = strings.Cut(rest, "\n")
		}
	}
	fmt.Fprintf(&s, "%s, %d processors shared by the cluster, what is measured and the clients; %s; %s. Each watcher is a connection of its own. Values of 128 bytes.\n\n",
		cpu, runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format("2006-01-02"))
	s.WriteString("| | watchers | updates/s | got everything in order, once | p50 ms | p99 ms | longest ms | watch streams in etcd | KiB per watcher | processors |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range b.rows {
		if r.failed != "" {
			fmt.Fprintf(&s, "| %s | %d | %d | cannot: %s | | | | | | |\n", r.name, r.watchers, r.rate, strings.ReplaceAll(r.failed, "|", "/"))
			continue
		}
		fmt.Fprintf(&s, "| %s | %d | %d | %d | %.0f | %.0f | %.0f | %.0f | %.0f | %.2f |\n", r.name, r.watchers, r.rate, r.complete,
			ms(r.p50), ms(r.p99), ms(r.longest), r.streams, r.memory/1024, r.cpu)
	}
	for _, r := range b.rows {
		if r.stuck > 0 {
			fmt.Fprintf(&s, "\nWith %d more clients that do not read, the p99 of the %s's others was %.0f ms; without, in turn with that, %.0f ms (%+.1f %%).\n",
				r.stuck, r.name, ms(r.stuckP99), ms(r.calmP99), 100*(float64(r.stuckP99)/float64(r.calmP99)-1))
		}
	}
	return s.String()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Where the table is in the README.
const (
	beginMark = "<!-- bench-relay: begin -->"
	endMark   = "<!-- bench-relay: end -->"
)

func writeReadme(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(text, []byte(beginMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no %s and %s", path, beginMark, endMark)
	}
	return os.WriteFile(path, fmt.Appendf(nil, "%s%s\n%s\n%s%s", head, beginMark, table, endMark, tail), 0o644)
}
