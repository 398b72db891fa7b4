package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one of the programs that are measured.
type process struct {
	cmd  *exec.Cmd
	addr string // where clients connect
	web  string // where metrics are
	done chan struct{}
}

var (
	started   []*process
	startedMu sync.Mutex
)

// launch starts a program and returns when its address accepts connections.
func launch(dir, name, addr, web string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, filepath.Base(name)+"-"+strconv.Itoa(len(started))+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, addr: addr, web: web, done: make(chan struct{})}
	startedMu.Lock()
	started = append(started, p)
	startedMu.Unlock()
	go func() { // ends with the program
		cmd.Wait()
		close(p.done)
	}()
	deadline := time.Now().Add(time.Minute)
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
			return p, nil
		}
		select {
		case <-p.done:
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s has ended: %s", name, text[max(0, len(text)-1000):])
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s does not listen on %s", name, addr)
		}
	}
}

func (p *process) stop() {
	p.cmd.Process.Kill()
	<-p.done
}

func stopAll() {
	startedMu.Lock()
	defer startedMu.Unlock()
	for _, p := range started {
		p.stop()
	}
}

// rss is what the process has of the memory, in bytes.
func (p *process) rss() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n << 10
}

// cpu is the processor time that the process has used.
func (p *process) cpu() time.Duration { return cpu(p.cmd.Process.Pid) }

// self is the processor time of the clients.
func self() time.Duration { return cpu(os.Getpid()) }

func cpu(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// metric is a value of the process's metrics, the sum of all its series.
func (p *process) metric(name string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, p.web+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range bytes.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if bare, _, _ := strings.Cut(series, "{"); !ok || bare != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("%s has no metric %s", p.web, name)
	}
	return sum, nil
}

// free returns an address that nobody listens on.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
