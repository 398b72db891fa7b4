package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// sample is what one proxy did in one round.
type sample struct {
	perSecond float64
	cpu       float64 // µs per request
	p99       float64 // ms
	allocs    float64 // per request; Sluice only
	rss       float64 // MiB
}

// load is how wrk drives a proxy.
type load struct {
	path   string
	script string // Lua, "" for plain GET
	cpus   string // of wrk
}

var (
	requestsLine = regexp.MustCompile(`(\d+) requests in`)
	rateLine     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p99Line      = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	badLine      = regexp.MustCompile(`(?m)^\s*(Non-2xx or 3xx responses: .*|Socket errors: .*)$`)
)

// drive runs wrk against s and measures s meanwhile.
func (b *bench) drive(s *server, l load, d time.Duration) (sample, error) {
	args := []string{"wrk", "-t1", "-c" + strconv.Itoa(b.conns), "-d" + strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + "s", "--latency"}
	if l.cpus != "" && runtime.NumCPU() > 1 {
		args = append([]string{"taskset", "-c", l.cpus}, args...)
	}
	if l.script != "" {
		path, err := b.file("wrk.lua", l.script)
		if err != nil {
			return sample{}, err
		}
		args = append(args, "-s", path)
	}
	args = append(args, "http://"+s.addr+l.path)
	cpu, err := s.cpuTime()
	if err != nil {
		return sample{}, err
	}
	allocs := s.metric("/gc/heap/allocs:objects")
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	allocs = s.metric("/gc/heap/allocs:objects") - allocs
	after, err := s.cpuTime()
	if err != nil {
		return sample{}, err
	}
	if m := badLine.Find(out); m != nil {
		return sample{}, fmt.Errorf("%s: %s", s.name, strings.TrimSpace(string(m)))
	}
	n, rate := number(requestsLine, out), number(rateLine, out)
	if n == 0 {
		return sample{}, fmt.Errorf("%s answered nothing:\n%s", s.name, out)
	}
	p99 := number(p99Line, out)
	if m := p99Line.FindSubmatch(out); m != nil {
		p99 *= map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[string(m[2])]
	}
	return sample{perSecond: rate, cpu: float64((after - cpu).Microseconds()) / n, p99: p99, allocs: allocs / n, rss: s.rss() / (1 << 20)}, nil
}

func number(re *regexp.Regexp, out []byte) float64 {
	m := re.FindSubmatch(out)
	if m == nil {
		return 0
	}
	f, _ := strconv.ParseFloat(string(m[1]), 64)
	return f
}

// ticks is the kernel's unit in /proc/PID/stat; it is 100 on every Linux that
// Go runs on.
const ticks = 100

// processes are the process and its children: nginx's workers.
func (s *server) processes() []int {
	root := s.cmd.Process.Pid
	pids := []int{root}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		f := statFields(path)
		if len(f) > 1 && f[1] == strconv.Itoa(root) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// statFields are those behind the program's name: state, parent, …
func statFields(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	i := strings.LastIndexByte(string(text), ')')
	return strings.Fields(string(text)[i+1:])
}

// cpuTime is user and system time of the process, all threads and children.
func (s *server) cpuTime() (time.Duration, error) {
	var total time.Duration
	for _, pid := range s.processes() {
		f := statFields(fmt.Sprintf("/proc/%d/stat", pid))
		if len(f) < 13 {
			return 0, fmt.Errorf("%s: process %d is gone", s.name, pid)
		}
		for _, text := range f[11:13] {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(n) * time.Second / ticks
		}
	}
	return total, nil
}

// rss is the resident memory in bytes.
func (s *server) rss() float64 {
	var total float64
	for _, pid := range s.processes() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if f := strings.Fields(string(text)); len(f) > 1 {
			pages, _ := strconv.ParseFloat(f[1], 64)
			total += pages * float64(os.Getpagesize())
		}
	}
	return total
}

// metric is a figure of Go's runtime, from Sluice's control API; 0 for others.
func (s *server) metric(name string) float64 {
	if s.ctl == "" {
		return 0
	}
	resp, err := http.Get("http://" + s.ctl + "/debug/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	values := map[string]float64{}
	if json.NewDecoder(resp.Body).Decode(&values) != nil {
		return 0
	}
	return values[name]
}
