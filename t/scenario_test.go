package t

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice/configcenter/adapter/backendtest"
)

// subjects are the folders of scenarios.
var subjects = []string{"plugin", "router", "upstream", "admin", "config", "stream", "tls", "lua", "security"}

// limit is how long anything that must happen may take on a slow machine.
const limit = 30 * time.Second

var prebuilt = flag.String("binary", "", "run the scenarios against this binary instead of one built from here")

var keep = flag.Bool("keep", false, "keep the folders of the scenarios")

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(asEtcd); dir != "" {
		fmt.Fprintln(os.Stderr, beEtcd(dir, os.Getenv(asEtcd+"_ADDR")))
		os.Exit(1)
	}
	code := backendtest.Run(m)
	closeShared()
	os.Exit(code)
}

// TestScenarios runs every scenario against the real binary. One of them:
//
//	go test ./t -run TestScenarios/router/host
func TestScenarios(t *testing.T) {
	for _, subject := range subjects {
		files, err := filepath.Glob(filepath.Join(subject, "*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			continue
		}
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			runReal(t, files, (*scenario).launchReal)
		})
	}
}

// runReal runs scripts with the real binary in their PATH.
func runReal(t *testing.T, files []string, launch func(*scenario) error) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := params(files, launch)
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		env.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+env.Getenv("PATH"))
		return setup(env)
	}
	testscript.Run(t, p)
}

// params make testscript run files; launch starts what the verbs talk to.
func params(files []string, launch func(*scenario) error) testscript.Params {
	return testscript.Params{
		Files:               files,
		TestWork:            *keep,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			s := newScenario(env.WorkDir, launch)
			env.Values[scenarioKey{}] = s
			env.Defer(s.close)
			env.Setenv("IP", s.ip)
			env.Setenv("KEY", adminKey)
			env.Setenv("PREFIX", "/"+s.ip)
			for name, port := range portNames {
				env.Setenv(name, strconv.Itoa(port))
			}
			up, err := s.newUpstream("UPSTREAM", []string{"echo"})
			if err != nil {
				return err
			}
			env.Setenv("UPSTREAM", up.addr)
			return nil
		},
		Cmds: commands(),
	}
}

type scenarioKey struct{}

// scenario is one script: its gateway, its upstreams, its last answer. It is
// used by one goroutine.
type scenario struct {
	dir    string
	ip     string // all its ports are on this loopback address
	launch func(*scenario) error
	getenv func(string) string

	gateway   *gateway
	upstreams map[string]*upstream
	shared    func() (*clientv3.Client, error) // the store that scenarios share
	store     *storeView
	answer    *answer
	dirty     bool // the configuration was written since the last request
	client    map[string]*http.Client
	ca        *authority
}

var scenarios atomic.Int32

func newScenario(dir string, launch func(*scenario) error) *scenario {
	n, pid := int(scenarios.Add(1)), os.Getpid()
	return &scenario{
		dir: dir, launch: launch, shared: sharedStore,
		// an address of its own instead of ports of its own: nobody else uses it
		ip:        fmt.Sprintf("127.%d.%d.%d", 16+pid%200, pid/200%250, n%250+1),
		upstreams: map[string]*upstream{},
		client:    map[string]*http.Client{},
	}
}

func (s *scenario) close() {
	if s.gateway != nil {
		s.gateway.kill()
	}
	for _, c := range s.client {
		c.CloseIdleConnections()
	}
	for _, u := range s.upstreams {
		u.close()
	}
	if s.store != nil {
		s.store.close()
	}
}

// verb is one word of the scenarios' language. It returns an error instead of
// failing the script, so that await can try again. not is the "!".
type verb func(s *scenario, not bool, args []string) error

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	cmds := map[string]func(*testscript.TestScript, bool, []string){}
	for name, v := range verbs() {
		cmds[name] = func(ts *testscript.TestScript, not bool, args []string) {
			s := ts.Value(scenarioKey{}).(*scenario)
			s.getenv = ts.Getenv
			if err := v(s, not, args); err != nil {
				ts.Fatalf("%v%s", err, s.trail())
			}
			for name, u := range s.upstreams {
				ts.Setenv(name, u.addr)
			}
			if s.ca != nil {
				for name, text := range s.ca.env {
					ts.Setenv(name, text)
				}
			}
		}
	}
	return cmds
}

func verbs() map[string]verb {
	return map[string]verb{
		"put": admin("PUT"), "post": admin("POST"), "patch": admin("PATCH"), "delete": admin("DELETE"),
		"get": get, "send": send,
		"status": status, "header": header, "body": body, "json": jsonPath, "peer": peer,
		"upstream": upstreamVerb, "seen": seen, "cert": cert,
		"tcp": tcp, "udp": udp, "ws": ws, "grpc": grpcVerb,
		"log": logVerb, "await": await, "restart": restart, "stop": stop, "store": storeVerb, "resources": resources,
	}
}

// trail is what helps to understand a failure: the last answer and the log's end.
func (s *scenario) trail() string {
	var b strings.Builder
	if s.answer != nil {
		fmt.Fprintf(&b, "\nlast answer: %s", s.answer)
	}
	if s.gateway != nil {
		log := s.gateway.log()
		if len(log) > 4000 {
			log = "…" + log[len(log)-4000:]
		}
		fmt.Fprintf(&b, "\nlog:\n%s", log)
	}
	return b.String()
}

// poll calls f until it succeeds, and returns its last error when it did not in time.
func poll(within time.Duration, f func() error) error {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}

// await [LIMIT] VERB ARGS [:: VERB ARGS]… repeats the verbs until all hold.
func await(s *scenario, not bool, args []string) error {
	within := limit
	if len(args) > 0 {
		if d, err := time.ParseDuration(args[0]); err == nil {
			within, args = d, args[1:]
		}
	}
	if not || len(args) == 0 {
		return fmt.Errorf("usage: await [LIMIT] VERB ARGS [:: VERB ARGS]")
	}
	return poll(within, func() error {
		for _, line := range split(args, "::") {
			not := line[0] == "!"
			if not {
				line = line[1:]
			}
			v := verbs()[line[0]]
			if v == nil {
				return fmt.Errorf("await: unknown verb %q", line[0])
			}
			if err := v(s, not, line[1:]); err != nil {
				return fmt.Errorf("await: %w", err)
			}
		}
		return nil
	})
}

func split(args []string, at string) [][]string {
	lines := [][]string{{}}
	for _, a := range args {
		if a == at {
			lines = append(lines, nil)
			continue
		}
		lines[len(lines)-1] = append(lines[len(lines)-1], a)
	}
	return lines
}

// shared is what all tests of this package use: the binary and the store.
var shared struct {
	mu    sync.Mutex
	dir   string
	build func() (string, error)
	stop  []func()
}

// binary is the path of the real binary, built on first use.
func binary() (string, error) {
	shared.mu.Lock()
	if shared.build == nil {
		shared.build = sync.OnceValues(build)
	}
	f := shared.build
	shared.mu.Unlock()
	return f()
}

func build() (string, error) {
	if *prebuilt != "" {
		return filepath.Abs(*prebuilt)
	}
	dir, err := sharedDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "bin", "sluice")
	args := []string{"build", "-o", bin}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/sluice")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

func sharedDir() (string, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.dir == "" {
		dir, err := os.MkdirTemp("", "sluice-t-")
		if err != nil {
			return "", err
		}
		shared.dir = dir
	}
	return shared.dir, nil
}

func closeShared() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, f := range shared.stop {
		f()
	}
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
}
