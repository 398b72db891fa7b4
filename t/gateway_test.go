package t

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

// adminKey is what scenarios use unless their config.yaml has another one.
const adminKey = "scenario-admin-key-of-the-tests"

// gateway is a running binary.
type gateway struct {
	cmd     *exec.Cmd
	done    chan struct{} // closed when it ended
	logPath string
	rev     func() int64 // of a stand-in; nil for the real one
}

// Ports of the gateways, each on its scenario's own address. They are chosen
// once: somebody on this machine may listen on the usual ones of all addresses.
var (
	httpPort, httpsPort, adminPort, controlPort = freePort(), freePort(), freePort(), freePort()
	statusPort, metricsPort, tcpPort, udpPort   = freePort(), freePort(), freePort(), freePort()
	storePort, relayPort, extraPort             = freePort(), freePort(), freePort()
)

// portNames are the variables of scripts that hold ports.
var portNames = map[string]int{"HTTP_PORT": httpPort, "HTTPS_PORT": httpsPort, "ADMIN_PORT": adminPort, "CONTROL_PORT": controlPort,
	"TCP_PORT": tcpPort, "UDP_PORT": udpPort, "STORE_PORT": storePort, "EXTRA_PORT": extraPort}

// nextPort is below the range from which the kernel takes ports by itself.
var nextPort = 12000 + os.Getpid()%1500*12

func freePort() int {
	for {
		nextPort++
		l, err := net.Listen("tcp", ":"+strconv.Itoa(nextPort))
		if err == nil {
			l.Close()
			return nextPort
		}
	}
}

// settings is the configuration of a scenario's gateway before its config.yaml
// is put over it.
func (s *scenario) settings() (map[string]any, error) {
	type m = map[string]any
	conf := m{
		"apisix": m{
			"node_listen": []any{m{"ip": s.ip, "port": httpPort}},
			"ssl":         m{"listen": []any{m{"ip": s.ip, "port": httpsPort}}},
			"control":     m{"ip": s.ip, "port": controlPort},
			"status":      m{"ip": s.ip, "port": statusPort},
		},
		"nginx_config": m{"error_log_level": "info", "worker_shutdown_timeout": "5s", "http": m{"charset": "off", "real_ip_from": []any{}}},
		"plugin_attr":  m{"prometheus": m{"export_addr": m{"ip": s.ip, "port": metricsPort}}},
		"deployment": m{
			"admin": m{
				"admin_listen": m{"ip": s.ip, "port": adminPort},
				"admin_key":    []any{m{"name": "admin", "key": adminKey, "role": "admin"}},
			},
		},
		"sluice": m{"data_dir": filepath.Join(s.dir, "data"), "store_listen": fmt.Sprintf("%s:%d", s.ip, storePort)},
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "config.yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return conf, s.useStore(conf)
	}
	if err != nil {
		return nil, err
	}
	var own m
	if err := yaml.Unmarshal([]byte(s.expand(string(text))), &own); err != nil {
		return nil, fmt.Errorf("config.yaml: %w", err)
	}
	embedded, relayed := own["store"] == "embedded", own["store"] == "relay"
	delete(own, "store")
	overlay(conf, own)
	if embedded {
		return conf, nil
	}
	if err := s.useStore(conf); err != nil || !relayed {
		return conf, err
	}
	return conf, s.store.behind(s.dir, fmt.Sprintf("%s:%d", s.ip, extraPort))
}

// useStore points the gateway at the store that all scenarios share, below a
// prefix of its own.
func (s *scenario) useStore(conf map[string]any) error {
	if s.store == nil {
		v, err := newStoreView(s.ip, s.shared)
		if err != nil {
			return err
		}
		s.store = v
	}
	overlay(conf, map[string]any{"deployment": map[string]any{"etcd": map[string]any{
		"host": []any{"http://" + s.store.addr}, "prefix": s.store.prefix}}})
	return nil
}

func overlay(base, over map[string]any) {
	for k, v := range over {
		b, ok1 := base[k].(map[string]any)
		o, ok2 := v.(map[string]any)
		if ok1 && ok2 {
			overlay(b, o)
			continue
		}
		base[k] = v
	}
}

// launchReal starts the real gateway and waits until it serves.
func (s *scenario) launchReal() error {
	bin, err := binary()
	if err != nil {
		return err
	}
	conf, err := s.settings()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(conf)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "conf")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	for _, name := range []string{"apisix.yaml", "apisix.json"} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
			if err := s.copyResources(name); err != nil {
				return err
			}
		}
	}
	s.gateway, err = startGateway(bin, path, s.dir)
	return err
}

// copyResources puts a file of the script, variables replaced, where a
// standalone gateway reads it; at once, as an editor would.
func (s *scenario) copyResources(name string) error {
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	dst := filepath.Join(s.dir, "conf", "apisix"+filepath.Ext(name))
	tmp := dst + ".new"
	if err := os.WriteFile(tmp, []byte(s.expand(string(text))), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, dst)
}

func startGateway(bin, config, dir string) (*gateway, error) {
	g := &gateway{logPath: filepath.Join(dir, "gateway.log"), done: make(chan struct{})}
	log, err := os.OpenFile(g.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	before := len(g.log())
	g.cmd = exec.Command(bin, "run", "-c", config)
	g.cmd.Dir, g.cmd.Stdout, g.cmd.Stderr = dir, log, log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		g.cmd.Wait()
		close(g.done)
	}()
	err = poll(limit, func() error {
		select {
		case <-g.done:
			return nil
		default:
		}
		if !strings.Contains(g.log()[before:], "msg=serving") {
			return errors.New("the gateway does not serve")
		}
		return nil
	})
	if err == nil && !g.running() {
		err = fmt.Errorf("the gateway ended: %v", g.cmd.ProcessState)
	}
	if err != nil {
		g.kill()
		return nil, fmt.Errorf("%w\n%s", err, g.log())
	}
	return g, nil
}

func (g *gateway) running() bool {
	select {
	case <-g.done:
		return false
	default:
		return true
	}
}

func (g *gateway) log() string {
	if g.logPath == "" {
		return ""
	}
	b, err := os.ReadFile(g.logPath)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// kill ends the process at once and waits for that.
func (g *gateway) kill() {
	if g.cmd == nil {
		return
	}
	g.cmd.Process.Kill()
	<-g.done
}

// end asks the process to end, and reports a bad exit.
func (g *gateway) end() error {
	if g.cmd == nil {
		return nil
	}
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-g.done:
	case <-time.After(limit):
		return errors.New("the gateway does not end")
	}
	if !g.cmd.ProcessState.Success() {
		return fmt.Errorf("the gateway ended with %v", g.cmd.ProcessState)
	}
	return nil
}

// up makes sure that the gateway runs.
func (s *scenario) up() error {
	if s.gateway != nil {
		return nil
	}
	return s.launch(s)
}

// settle waits until what was written is live.
func (s *scenario) settle() error {
	if err := s.up(); err != nil || !s.dirty {
		return err
	}
	rev, err := s.revision()
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://%s:%d/v1/sluice/version?wait=%d&timeout=%d", s.ip, controlPort, rev, int(limit.Seconds()))
	a, err := s.do(request{method: "GET", url: url})
	if err != nil {
		return fmt.Errorf("control API: %w", err)
	}
	if a.status != 200 {
		return fmt.Errorf("revision %d is not live: %s", rev, a)
	}
	s.dirty = false
	return nil
}

func restart(s *scenario, not bool, args []string) error {
	if err := s.settle(); err != nil {
		return err
	}
	if err := stop(s, not, args); err != nil {
		return err
	}
	s.dirty = s.store != nil
	return s.up()
}

func stop(s *scenario, not bool, args []string) error {
	if not || len(args) > 0 {
		return errors.New("usage: restart | stop")
	}
	if err := s.up(); err != nil {
		return err
	}
	g := s.gateway
	s.gateway = nil
	for _, c := range s.client {
		c.CloseIdleConnections()
	}
	return g.end()
}

// resources FILE puts FILE in the place of apisix.yaml or apisix.json.
func resources(s *scenario, not bool, args []string) error {
	if not || len(args) != 1 {
		return errors.New("usage: resources FILE")
	}
	return s.copyResources(args[0])
}

// log TEXT waits for a line of the gateway's log; "! log TEXT" says there is none.
func logVerb(s *scenario, not bool, args []string) error {
	if len(args) != 1 || s.gateway == nil {
		return errors.New("usage: log TEXT, with a running gateway")
	}
	if not {
		if strings.Contains(s.gateway.log(), args[0]) {
			return fmt.Errorf("the log has %q", args[0])
		}
		return nil
	}
	return poll(limit, func() error {
		if !strings.Contains(s.gateway.log(), args[0]) {
			return fmt.Errorf("the log has no %q", args[0])
		}
		return nil
	})
}
