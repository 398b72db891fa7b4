package all

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
	"sluice/plugins/internal/redistest"
)

// TestOneRoundTrip counts, at real servers, the commands that a request makes
// for each plugin that keeps its state in Redis: one that it waits for, however
// many rules there are.
func TestOneRoundTrip(t *testing.T) {
	single := redistest.Single(t)
	sentinel, guarded := redistest.Sentinel(t)
	nodes := redistest.Cluster(t, 3)
	var clustered []int
	for _, addr := range nodes {
		var port int
		if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
			t.Fatal(err)
		}
		clustered = append(clustered, port)
	}
	for _, place := range []struct {
		name, conf string
		ports      []int
	}{
		{"redis", fmt.Sprintf(`"policy":"redis","redis_host":"127.0.0.1","redis_port":%d,"redis_timeout":20000`, single), []int{single}},
		{"redis-cluster", fmt.Sprintf(`"policy":"redis-cluster","redis_cluster_name":"c","redis_cluster_nodes":["%s"],"redis_timeout":20000`, strings.Join(nodes, `","`)), clustered},
		{"redis-sentinel", fmt.Sprintf(`"policy":"redis-sentinel","redis_sentinels":[{"host":"127.0.0.1","port":%d}],"redis_master_name":"mymaster","redis_connect_timeout":20000,"redis_read_timeout":20000`, sentinel), []int{guarded}},
	} {
		t.Run(place.name, func(t *testing.T) {
			var watched []*monitor
			for _, port := range place.ports {
				watched = append(watched, watch(t, port))
			}
			for _, x := range []struct {
				plugin, conf string
				inCluster    int // commands of a request there, if more than one
			}{
				{"limit-count", `"count":1000000,"time_window":3600`, 0},
				{"limit-count", `"count":1000000,"time_window":3600,"window_type":"sliding"`, 0},
				{"limit-count", `"rules":[{"count":1000000,"time_window":3600,"key":"${remote_addr}"},{"count":1000000,"time_window":60,"key":"${uri}"},{"count":1000000,"time_window":6,"key":"a"}]`, 3},
				{"limit-count", `"window_type":"sliding","rules":[{"count":1000000,"time_window":3600,"key":"${remote_addr}"},{"count":1000000,"time_window":60,"key":"${uri}"}]`, 2},
				{"limit-req", `"rate":1000000,"burst":1,"key":"remote_addr","nodelay":true`, 0},
				{"limit-conn", `"conn":1000000,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"`, 0},
			} {
				if _, ok := properties(t, Registry()[x.plugin].Schema)["redis_sentinels"]; !ok && place.name == "redis-sentinel" {
					continue
				}
				const requests = 50
				n := commands(t, watched, x.plugin, `{`+x.conf+`,`+place.conf+`}`, requests)
				allowed := requests
				if place.name == "redis-cluster" && x.inCluster > 0 {
					allowed *= x.inCluster // keys of several servers
				}
				if n > allowed || n == 0 {
					t.Errorf("%s with %s: %d commands for %d requests", x.plugin, x.conf, n, requests)
				}
			}
		})
	}
}

// commands is how many commands the access phase of that many requests makes.
func commands(t *testing.T, watched []*monitor, plugin, conf string, requests int) int {
	t.Helper()
	env := plugintest.Env()
	p, err := plugintest.Try(Registry()[plugin], env, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	defer env.Shared.Close()
	var open []*plugins.Ctx
	access := func() {
		c := plugintest.Request("GET", "/hello")
		if rep, err := p.Access(c); rep != nil || err != nil {
			t.Fatalf("%s %s: %v, %v", plugin, conf, rep, err)
		}
		open = append(open, c)
	}
	for range 3 { // connections are made, scripts sent
		access()
	}
	for _, m := range watched {
		m.mark(t)
	}
	for range requests {
		access()
	}
	n := 0
	for _, m := range watched {
		n += m.mark(t)
	}
	for _, c := range open {
		if p.Log != nil {
			p.Log(c)
		}
	}
	return n
}

// monitor is a connection on which a server tells every command that it gets.
type monitor struct {
	port int
	in   *bufio.Reader
	n    int
}

func watch(t *testing.T, port int) *monitor {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	m := &monitor{port: port, in: bufio.NewReader(c)}
	if line, err := m.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
		t.Fatalf("MONITOR: %q, %v", line, err)
	}
	return m
}

// upkeep are the commands of connections, sentinels and clusters, not of requests.
var upkeep = regexp.MustCompile(`(?i)^"(hello|auth|select|client|ping|cluster|command|info|role|sentinel|publish|subscribe|psync|replconf|echo|quit|readonly|asking)"`)

// mark is the number of commands since the last mark.
func (m *monitor) mark(t *testing.T) int {
	t.Helper()
	m.n++
	word := fmt.Sprintf("mark-%d", m.n)
	redistest.Do(t, m.port, "ECHO", word)
	for n := 0; ; {
		line, err := m.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, word) {
			return n
		}
		// +1700000000.000000 [0 127.0.0.1:5000] "EVALSHA" …; what scripts do is from "lua".
		_, command, ok := strings.Cut(line, "] ")
		if ok && !strings.Contains(line, "[0 lua]") && !upkeep.MatchString(command) {
			n++
		}
	}
}
