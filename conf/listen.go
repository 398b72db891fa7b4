package conf

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Service says what answers on a listener.
type Service string

// The services of a process. Stream listeners are not among them: they are
// opened by the stream proxy from StreamProxy.
const (
	HTTP       Service = "http"
	HTTPS      Service = "https"
	AdminAPI   Service = "admin"
	ControlAPI Service = "control"
	Status     Service = "status"
	Metrics    Service = "prometheus"
)

// Listener is one address to listen on.
type Listener struct {
	Service       Service
	Addr          string // host:port
	Key           string // where in the configuration it comes from
	ProxyProtocol bool   // connections begin with a PROXY header
	HTTP3         bool   // QUIC on the UDP port of the same number
	// Optional listeners may fail to open without ending the process: the IPv6
	// twin of a port on a machine without IPv6.
	Optional bool
}

func (l *NodeListen) decodeConf(n *node) error {
	*l = NodeListen{Port: 9080}
	if n.kind != kindMap {
		return listenPort("http", n, &l.Port)
	}
	if n.vals["enable_http2"] != nil {
		return errors.New("ERROR: port level enable_http2 in node_listen is deprecated" +
			"from 3.9 version, and you should use enable_http2 in apisix level.")
	}
	return listenAddr("http", n, &l.IP, &l.Port)
}

func (l *SSLListen) decodeConf(n *node) error {
	*l = SSLListen{Port: 9443}
	if n.kind != kindMap {
		return listenPort("https", n, &l.Port)
	}
	if n.vals["enable_http2"] != nil {
		return errors.New("ERROR: port level enable_http2 in ssl.listen is deprecated" +
			"from 3.9 version, and you should use enable_http2 in apisix level.")
	}
	if v := n.vals["enable_http3"]; v != nil {
		l.EnableHTTP3 = v.kind == kindBool && v.text == "true"
	}
	return listenAddr("https", n, &l.IP, &l.Port)
}

func listenAddr(scheme string, n *node, ip *string, port *int) error {
	if v := n.vals["ip"]; v != nil {
		if v.kind != kindString {
			return fmt.Errorf("%s listen ip format error, must be string (value %s)", scheme, v.show())
		}
		*ip = v.text
	}
	if v := n.vals["port"]; v != nil {
		return listenPort(scheme, v, port)
	}
	return nil
}

func listenPort(scheme string, n *node, port *int) error {
	if n.kind != kindNumber {
		return fmt.Errorf("%s listen port format error, must be number (value %s)", scheme, n.show())
	}
	p, err := strconv.Atoi(n.text)
	if err != nil || p < 1 || p > 65535 {
		return fmt.Errorf("port out of range (1-65535): %s", n.text)
	}
	*port = p
	return nil
}

// decodeConf reads 9100, "127.0.0.1:9100", "9100-9110" and {addr, tls, …}.
func (l *StreamListen) decodeConf(n *node) error {
	*l = StreamListen{}
	addr := n
	if n.kind == kindMap {
		addr = n.vals["addr"]
		if addr == nil {
			return errors.New("invalid stream_proxy entry: addr is missing")
		}
		for key, dst := range map[string]**bool{"proxy_protocol": &l.Proxy, "proxy_protocol_to_upstream": &l.ProxyUpstream} {
			if v := n.vals[key]; v != nil {
				on := v.kind == kindBool && v.text == "true"
				*dst = &on
			}
		}
		if v := n.vals["tls"]; v != nil {
			l.TLS = v.kind == kindBool && v.text == "true"
		}
	}
	if addr.kind != kindNumber && addr.kind != kindString {
		return fmt.Errorf("invalid stream_proxy entry: %s", addr.show())
	}
	ports := addr.text
	if i := strings.LastIndexByte(ports, ':'); i >= 0 {
		l.IP, ports = strings.Trim(ports[:i], "[]"), ports[i+1:]
		if net.ParseIP(l.IP) == nil {
			return fmt.Errorf("invalid stream_proxy entry: %s", addr.show())
		}
	}
	first, last, ranged := strings.Cut(ports, "-")
	if !ranged {
		last = first
	}
	return l.ports(first, last, addr)
}

func (l *StreamListen) ports(first, last string, addr *node) error {
	var err1, err2 error
	l.First, err1 = strconv.Atoi(first)
	l.Last, err2 = strconv.Atoi(last)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("invalid stream_proxy entry: %s", addr.show())
	}
	for _, p := range []int{l.First, l.Last} {
		if p < 1 || p > 65535 {
			return fmt.Errorf("port out of range (1-65535): %d", p)
		}
	}
	if l.First > l.Last {
		return fmt.Errorf("invalid port range (start > end): %d-%d", l.First, l.Last)
	}
	return nil
}

// Listeners are all addresses that a process with this configuration opens,
// each once.
func (c *Config) Listeners() []Listener {
	var ls []Listener
	seen := map[Listener]bool{}
	add := func(l Listener) {
		if k := (Listener{Service: l.Service, Addr: l.Addr}); !seen[k] {
			seen[k] = true
			ls = append(ls, l)
		}
	}
	if c.ServesHTTP() {
		c.dataListeners(add)
	}
	if c.ServesAdmin() {
		a := c.Deployment.Admin.Listen
		add(Listener{Service: AdminAPI, Addr: addr(a.IP, "0.0.0.0", a.Port), Key: "deployment.admin.admin_listen"})
	}
	if c.Apisix.EnableControl {
		a := c.Apisix.Control
		add(Listener{Service: ControlAPI, Addr: addr(a.IP, "127.0.0.1", a.Port), Key: "apisix.control"})
	}
	if a := c.Apisix.Status; a != nil {
		add(Listener{Service: Status, Addr: addr(a.IP, "127.0.0.1", a.Port), Key: "apisix.status"})
	}
	if p := c.Prometheus; p.EnableExportServer && c.hasPlugin("prometheus") {
		add(Listener{Service: Metrics, Addr: addr(p.ExportAddr.IP, "127.0.0.1", p.ExportAddr.Port),
			Key: "plugin_attr.prometheus.export_addr"})
	}
	return ls
}

func (c *Config) dataListeners(add func(Listener)) {
	a := &c.Apisix
	// twin adds the IPv6 form of a listener that was given without an address
	twin := func(ip string, l Listener) {
		_, port, _ := net.SplitHostPort(l.Addr)
		add(l)
		if ip == "" && a.EnableIPv6 {
			l.Addr, l.Optional = net.JoinHostPort("::", port), true
			add(l)
		}
	}
	for i, n := range a.NodeListen {
		twin(n.IP, Listener{Service: HTTP, Addr: addr(n.IP, "0.0.0.0", n.Port),
			Key: fmt.Sprintf("apisix.node_listen[%d]", i)})
	}
	if a.SSL.Enable {
		for i, n := range a.SSL.Listen {
			twin(n.IP, Listener{Service: HTTPS, Addr: addr(n.IP, "0.0.0.0", n.Port), HTTP3: n.EnableHTTP3,
				Key: fmt.Sprintf("apisix.ssl.listen[%d]", i)})
		}
	}
	if p := a.ProxyProtocol.HTTPPort; p > 0 {
		add(Listener{Service: HTTP, Addr: addr("", "0.0.0.0", p), ProxyProtocol: true,
			Key: "apisix.proxy_protocol.listen_http_port"})
	}
	if p := a.ProxyProtocol.HTTPSPort; p > 0 && a.SSL.Enable {
		add(Listener{Service: HTTPS, Addr: addr("", "0.0.0.0", p), ProxyProtocol: true,
			Key: "apisix.proxy_protocol.listen_https_port"})
	}
}

func addr(ip, otherwise string, port int) string {
	if ip == "" {
		ip = otherwise
	}
	return net.JoinHostPort(strings.Trim(ip, "[]"), strconv.Itoa(port))
}

// ServesHTTP says whether this instance proxies HTTP; a control plane and a
// pure stream proxy do not.
func (c *Config) ServesHTTP() bool {
	return c.Deployment.Role != "control_plane" && c.Apisix.ProxyMode != "stream"
}

// ServesStream says whether this instance proxies TCP and UDP.
func (c *Config) ServesStream() bool {
	return c.Deployment.Role != "control_plane" && c.Apisix.ProxyMode != "http"
}

// ServesAdmin says whether this instance has the Admin API.
func (c *Config) ServesAdmin() bool { return c.Apisix.EnableAdmin }

func (c *Config) hasPlugin(name string) bool {
	for _, list := range [][]string{c.Plugins, c.StreamPlugins} {
		for _, p := range list {
			if p == name {
				return true
			}
		}
	}
	return false
}
