// Package redistest starts real Redis servers for tests: a single one, a
// cluster, and one guarded by a sentinel, on ports and folders of their own.
//
// It does not know who uses them.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	program  = "redis-server"
	slots    = 16384
	patience = 30 * time.Second
)

// Single starts a server with additional arguments ("--requirepass", "x") and
// returns its port.
func Single(t testing.TB, args ...string) int {
	t.Helper()
	port := freePort(t)
	SingleAt(t, port, args...)
	return port
}

// SingleAt is Single on a port of the caller's.
func SingleAt(t testing.TB, port int, args ...string) {
	t.Helper()
	start(t, port, args...)
	await(t, port, "PING", "PONG", args)
}

// TLS starts a server that speaks TLS with a certificate nobody knows, and
// returns the port of that.
func TLS(t testing.TB) int {
	t.Helper()
	cert, key := certificate(t)
	port := freePort(t)
	Single(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	return port
}

// Cluster starts a cluster of n masters and returns their addresses.
func Cluster(t testing.TB, n int, args ...string) []string {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		ports[i] = busPort(t)
		start(t, ports[i], append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "20000"}, args...)...)
	}
	addrs := make([]string, n)
	for i, port := range ports {
		addrs[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		await(t, port, "PING", "PONG", args)
		Do(t, port, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		Do(t, port, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/n), strconv.Itoa((i+1)*slots/n-1))
		if i > 0 {
			Do(t, port, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(ports[0]))
		}
	}
	for _, port := range ports {
		await(t, port, "CLUSTER INFO", "cluster_state:ok", nil)
		await(t, port, "CLUSTER INFO", fmt.Sprintf("cluster_known_nodes:%d", n), nil)
	}
	return addrs
}

// Sentinel starts a server and a sentinel that calls it "mymaster", and
// returns the ports of the sentinel and of the server.
func Sentinel(t testing.TB, args ...string) (sentinel, server int) {
	t.Helper()
	server = Single(t, args...)
	sentinel = freePort(t)
	lines := fmt.Sprintf("sentinel monitor mymaster 127.0.0.1 %d 1\n", server)
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == "--requirepass" {
			lines += "sentinel auth-pass mymaster " + args[i+1] + "\n"
		}
	}
	startWith(t, sentinel, lines, "--sentinel")
	await(t, sentinel, "SENTINEL get-master-addr-by-name mymaster", strconv.Itoa(server), nil)
	return sentinel, server
}

func start(t testing.TB, port int, args ...string) { startWith(t, port, "", args...) }

// startWith runs a server until the test ends.
func startWith(t testing.TB, port int, lines string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "redis.conf")
	conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsave \"\"\nappendonly no\ndaemonize no\n%s", port, dir, lines)
	if err := write(file, conf); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(program, append([]string{file}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: make test installs it", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("redis-server on %d:\n%s", port, out.String())
		}
	})
}

// await repeats a command until its answer contains want.
func await(t testing.TB, port int, command, want string, args []string) {
	t.Helper()
	var last string
	for until := time.Now().Add(patience); time.Now().Before(until); {
		answer, err := ask(port, strings.Fields(command)...)
		if last = fmt.Sprint(answer, err); strings.Contains(answer, want) || strings.Contains(answer, "NOAUTH") ||
			strings.Contains(answer, "WRONGPASS") {
			return
		}
		pause()
	}
	t.Fatalf("redis on %d: %s: %s, want %s (%v)", port, command, last, want, args)
}

// Do sends a command and returns the answer, lists as lines.
func Do(t testing.TB, port int, words ...string) string {
	t.Helper()
	return DoIn(t, port, 0, words...)
}

// DoIn is Do in that database.
func DoIn(t testing.TB, port, database int, words ...string) string {
	t.Helper()
	answer, err := askIn(port, database, words...)
	if err != nil {
		t.Fatalf("redis on %d: %v: %v", port, words, err)
	}
	if strings.HasPrefix(answer, "-") {
		t.Fatalf("redis on %d: %v: %s", port, words, answer)
	}
	return answer
}
