package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is a process under measurement.
type server struct {
	name string
	addr string // where it answers HTTP
	ctl  string // control API, Sluice only
	cmd  *exec.Cmd
	log  *bytes.Buffer // what it printed; read it when done
	done chan struct{}
}

var (
	serversMu sync.Mutex
	servers   = map[*server]bool{}
)

// start runs a program on the processors cpus ("" for all) and waits until it
// listens at addr.
func (b *bench) start(name, cpus, addr string, env []string, args ...string) (*server, error) {
	if cpus != "" && runtime.NumCPU() > 1 {
		args = append([]string{"taskset", "-c", cpus}, args...)
	}
	s := &server{name: name, addr: addr, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	s.log = &bytes.Buffer{}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = b.dir, s.log, s.log
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	serversMu.Lock()
	servers[s] = true
	serversMu.Unlock()
	go func() { // ends with the process
		s.cmd.Wait()
		close(s.done)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); ; <-tick.C {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return s, nil
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("%s ended: %s", name, s.log)
		default:
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("%s does not listen on %s: %w", name, addr, err)
		}
	}
}

func (s *server) stop() {
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(3 * time.Second):
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
	serversMu.Lock()
	delete(servers, s)
	serversMu.Unlock()
}

func stopAll() {
	serversMu.Lock()
	var all []*server
	for s := range servers {
		all = append(all, s)
	}
	serversMu.Unlock()
	for _, s := range all {
		s.stop()
	}
}

// freeAddr is a loopback address that nobody listens on just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (b *bench) file(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// asUser keeps nginx's workers able to read the bench's folder.
func asUser() string {
	if os.Getuid() == 0 {
		return "user root; "
	}
	return ""
}

const nginxHead = `daemon off; pid %[1]s/%[2]s.pid; error_log %[1]s/%[2]s.err; worker_processes %[3]d; worker_rlimit_nofile 65000;
events { worker_connections 20000; }
http {
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 100000000; keepalive_timeout 600s; client_body_buffer_size 64k; sendfile on; tcp_nodelay on;
`

// startUpstream starts what all proxies stand before: an nginx that answers
// from memory.
func (b *bench) startUpstream() (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if _, err := b.file("100k", strings.Repeat("x", 100<<10)); err != nil {
		return nil, err
	}
	conf, err := b.file("upstream.conf", fmt.Sprintf(asUser()+nginxHead+`  access_log off;
  server {
    listen %[4]s backlog=8192;
    location = /100k { root %[1]s; }
    location / { default_type text/plain; return 200 "hello, world\n"; }
  }
}
`, b.dir, "upstream", 1, addr))
	if err != nil {
		return nil, err
	}
	return b.start("upstream", lastCPU(), addr, nil, "nginx", "-p", b.dir, "-c", conf)
}

func lastCPU() string { return strconv.Itoa(runtime.NumCPU() - 1) }

// startNginx starts an nginx that proxies as APISIX's nginx.conf has it, with a
// buffered access log.
func (b *bench) startNginx(workers int, cpus string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf, err := b.file("nginx.conf", fmt.Sprintf(asUser()+nginxHead+`  access_log %[1]s/nginx.access combined buffer=16k flush=1s;
  upstream up { server %[5]s; keepalive 320; keepalive_requests 100000000; keepalive_timeout 60s; }
  server {
    listen %[4]s backlog=8192;
    location / {
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port;
    }
  }
}
`, b.dir, "nginx", workers, addr, b.upstream.addr))
	if err != nil {
		return nil, err
	}
	return b.start("nginx", cpus, addr, nil, "nginx", "-p", b.dir, "-c", conf)
}

func (b *bench) startHaproxy(threads int, cpus string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf, err := b.file("haproxy.cfg", fmt.Sprintf(`global
  nbthread %d
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  http-reuse always
frontend in
  bind %s backlog 8192
  http-request set-header X-Real-IP %%[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  http-request set-header X-Forwarded-Port %%[dst_port]
  option forwardfor
  default_backend up
backend up
  server one %s pool-max-conn 320
`, threads, addr, b.upstream.addr))
	if err != nil {
		return nil, err
	}
	return b.start("haproxy", cpus, addr, nil, "haproxy", "-db", "-f", conf)
}

// sluiceConfig is the configuration of a standalone gateway.
func (b *bench) sluiceConfig(addr, control, provider string) string {
	host, port, _ := net.SplitHostPort(addr)
	_, controlPort, _ := net.SplitHostPort(control)
	role := "role: data_plane\n  role_data_plane: {config_provider: " + provider + "}"
	return fmt.Sprintf(`apisix:
  node_listen: [{ip: %s, port: %s}]
  ssl: {enable: false}
  control: {port: %s}
nginx_config:
  http: {access_log: %s/sluice.access, upstream: {keepalive_requests: 100000000}}
plugin_attr: {prometheus: {enable_export_server: false}}
deployment:
  %s
sluice: {data_dir: %s/data, pprof: true}
`, host, port, controlPort, b.dir, role, b.dir)
}

// startSluice starts a gateway with routes, in the form of apisix.yaml.
func (b *bench) startSluice(procs int, cpus, routes string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	control, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(b.dir, "conf"), 0o755); err != nil {
		return nil, err
	}
	conf, err := b.file("conf/config.yaml", b.sluiceConfig(addr, control, "yaml"))
	if err != nil {
		return nil, err
	}
	if _, err := b.file("conf/apisix.yaml", routes+"#END\n"); err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(b.binary)
	if err != nil {
		return nil, err
	}
	s, err := b.start("sluice", cpus, addr, []string{"GOMAXPROCS=" + strconv.Itoa(procs)}, binary, "run", "-c", conf)
	if err != nil {
		return nil, err
	}
	s.ctl = control
	return s, s.answers(b.headersOf("plugins"))
}

// answers waits until the proxy gives the upstream's answer.
func (s *server) answers(h http.Header) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		req, err := http.NewRequest("GET", "http://"+s.addr+"/", nil)
		if err != nil {
			return err
		}
		req.Header = h
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			last = err
			select {
			case <-s.done:
				return fmt.Errorf("%s ended: %s", s.name, s.log)
			default:
			}
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("%s answers %s", s.name, resp.Status)
	}
	return last
}
