package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// line is one line of the table.
type line struct {
	label, who string
	values     map[string]string // by column
}

// columns of the table, after the two names.
var columns = []string{"requests/s", "CPU µs/request", "× nginx", "p99 ms", "allocations", "RSS MiB", "note"}

func (b *bench) add(label, who string, all, nginx []sample) {
	pick := func(f func(sample) float64) []float64 {
		var vs []float64
		for _, s := range all {
			vs = append(vs, f(s))
		}
		return vs
	}
	v := map[string]string{
		"requests/s":     spread(pick(func(s sample) float64 { return s.perSecond }), "%.0f"),
		"CPU µs/request": spread(pick(func(s sample) float64 { return s.cpu }), "%.1f"),
		"p99 ms":         spread(pick(func(s sample) float64 { return s.p99 }), "%.2f"),
		"RSS MiB":        fmt.Sprintf("%.1f", median(pick(func(s sample) float64 { return s.rss }))),
	}
	if who == "sluice" {
		v["allocations"] = fmt.Sprintf("%.2f", median(pick(func(s sample) float64 { return s.allocs })))
	}
	// the ratio within each round: what disturbs the machine disturbs both
	var ratios []float64
	for i := range min(len(all), len(nginx)) {
		ratios = append(ratios, all[i].cpu/nginx[i].cpu)
	}
	switch {
	case who == "nginx":
		v["× nginx"] = "1"
	case len(ratios) > 0:
		v["× nginx"] = fmt.Sprintf("**%.2f** (%.2f–%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
	}
	b.report = append(b.report, line{label, who, v})
}

func median(vs []float64) float64 {
	s := slices.Sorted(slices.Values(vs))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// spread is the median with the range.
func spread(vs []float64, format string) string {
	if len(vs) == 0 {
		return ""
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", median(vs), slices.Min(vs), slices.Max(vs))
}

// table is the report as Markdown.
func (b *bench) table() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, %d processors, %s, %s, %s; %s; %d rounds of %s, %d connections.\n\n", processor(), runtime.NumCPU(),
		firstLine("nginx", "-v"), firstLine("haproxy", "-v"), firstLine(b.binary, "version"),
		time.Now().UTC().Format("2006-01-02"), b.rounds, b.duration, b.conns)
	var used []string
	for _, c := range columns {
		if slices.ContainsFunc(b.report, func(l line) bool { return l.values[c] != "" }) {
			used = append(used, c)
		}
	}
	fmt.Fprintf(&s, "| | | %s |\n|---|---|%s\n", strings.Join(used, " | "), strings.Repeat("---|", len(used)))
	last := ""
	for _, l := range b.report {
		label := l.label
		if label == last {
			label = ""
		}
		last = l.label
		fmt.Fprintf(&s, "| %s | %s |", label, l.who)
		for _, c := range used {
			fmt.Fprintf(&s, " %s |", cmp.Or(l.values[c], " "))
		}
		s.WriteString("\n")
	}
	return s.String()
}

func firstLine(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	text, _, _ := strings.Cut(string(out), "\n")
	text = strings.TrimPrefix(text, "nginx version: ")
	if i := strings.Index(text, " - "); i > 0 {
		text = text[:i]
	}
	return text
}

const startMark, endMark = "<!-- bench:start -->", "<!-- bench:end -->"

// writeReadme puts table between the marks.
func writeReadme(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok1 := bytes.Cut(text, []byte(startMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok1 || !ok2 {
		return fmt.Errorf("%s: no %s … %s", path, startMark, endMark)
	}
	out := fmt.Sprintf("%s%s\n%s%s%s", head, startMark, table, endMark, tail)
	return os.WriteFile(path, []byte(out), 0o644)
}
