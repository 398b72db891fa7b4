package t

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

// upstream is one scripted server. It says in X-Seen-By who it is.
type upstream struct {
	name, addr string
	l          net.Listener
	pc         net.PacketConn
	srv        *http.Server
	stop       func() // of servers that are not srv

	mu   sync.Mutex
	seen []string // requests as received
}

func (u *upstream) note(text string) {
	u.mu.Lock()
	u.seen = append(u.seen, text)
	u.mu.Unlock()
}

func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.seen...)
}

func (u *upstream) close() {
	if u.srv != nil {
		u.srv.Close()
	}
	if u.stop != nil {
		u.stop()
	}
	if u.l != nil {
		u.l.Close()
	}
	if u.pc != nil {
		u.pc.Close()
	}
}

// upstream NAME KIND [ARGS] starts a server; $NAME is then its address. Kinds:
//
//	echo                  the request as JSON, with "name"
//	status N [BODY] [H…]  always this answer, with fields "Name: value"
//	slow DURATION         as echo, after the time
//	raw FILE              these bytes; "seen" shows the request as received
//	close                 accepts and closes
//	hang                  accepts and says nothing
//	refuse                nobody listens there
//	tls [CERT]            as echo, behind TLS (h2 and HTTP/1.1)
//	mtls                  as tls, wants a client certificate of the scenario's CA
//	h2c                   as echo, HTTP/2 without TLS too
//	grpc                  a gRPC server that sends back what it gets
//	ws                    a WebSocket that sends back what it gets
//	tcp, udp              sends back what it gets, NAME and a colon in front
//	stop                  ends the server of that name
func upstreamVerb(s *scenario, not bool, args []string) error {
	if not || len(args) < 2 {
		return errors.New("usage: upstream NAME KIND [ARGS]")
	}
	if old := s.upstreams[args[0]]; old != nil {
		old.close()
		if args[1] == "stop" {
			return nil
		}
	}
	_, err := s.newUpstream(args[0], args[1:])
	return err
}

func (s *scenario) newUpstream(name string, args []string) (*upstream, error) {
	u := &upstream{name: strings.ToLower(name)}
	listen := "127.0.0.1:0"
	if old := s.upstreams[name]; old != nil {
		listen = old.addr // a server that comes back is where it was
	}
	var err error
	if args[0] == "udp" {
		u.pc, err = net.ListenPacket("udp", listen)
	} else {
		u.l, err = net.Listen("tcp", listen)
	}
	if err != nil {
		return nil, err
	}
	if u.pc != nil {
		u.addr = u.pc.LocalAddr().String()
	} else {
		u.addr = u.l.Addr().String()
	}
	s.upstreams[name] = u
	return u, u.start(s, args[0], args[1:])
}

func (u *upstream) start(s *scenario, kind string, args []string) error {
	switch kind {
	case "echo", "h2c":
		u.serve(u.l, http.HandlerFunc(u.echo))
	case "status":
		return u.fixed(s, args)
	case "slow":
		d, err := time.ParseDuration(first(args))
		if err != nil {
			return err
		}
		u.serve(u.l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(d):
				u.echo(w, r)
			case <-r.Context().Done():
				u.note("gone")
			}
		}))
	case "tls", "mtls":
		c, err := s.serverTLS(first(args), kind == "mtls")
		if err != nil {
			return err
		}
		u.serve(tls.NewListener(u.l, c), http.HandlerFunc(u.echo))
	case "refuse":
		return u.l.Close()
	case "ws":
		u.serve(u.l, http.HandlerFunc(u.webSocket))
	case "grpc":
		u.grpc()
	case "raw":
		text, err := s.text(first(args))
		if err != nil {
			return err
		}
		if text, err = unescape(text); err != nil {
			return err
		}
		go u.accept(func(c net.Conn) { u.raw(c, text) })
	case "close":
		go u.accept(func(c net.Conn) {
			u.note("connection")
			c.Close()
		})
	case "hang":
		go u.accept(func(c net.Conn) {
			u.note("connection")
			io.Copy(io.Discard, c)
		})
	case "tcp":
		go u.accept(func(c net.Conn) {
			defer c.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				u.note(string(buf[:n]))
				fmt.Fprintf(c, "%s:%s", u.name, buf[:n])
			}
		})
	case "udp":
		go u.datagrams()
	default:
		return fmt.Errorf("upstream kind %q is not known", kind)
	}
	return nil
}

// serve answers HTTP/1.1, h2c, and h2 when l speaks TLS.
func (u *upstream) serve(l net.Listener, h http.Handler) {
	u.srv = &http.Server{Handler: h, Protocols: new(http.Protocols)}
	u.srv.Protocols.SetHTTP1(true)
	u.srv.Protocols.SetHTTP2(true)
	u.srv.Protocols.SetUnencryptedHTTP2(true)
	go u.srv.Serve(l) // ends with close
}

// accept gives each connection a goroutine; it ends when the listener closes.
func (u *upstream) accept(f func(net.Conn)) {
	for {
		c, err := u.l.Accept()
		if err != nil {
			return
		}
		go f(c)
	}
}

func (u *upstream) echo(w http.ResponseWriter, r *http.Request) {
	dump, _ := httputil.DumpRequest(r, false)
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return // half a request is none
	}
	u.note(string(dump) + string(text))
	fields := map[string]string{}
	for name, v := range r.Header {
		fields[strings.ToLower(name)] = strings.Join(v, ", ")
	}
	for name, v := range r.Trailer {
		fields["trailer:"+strings.ToLower(name)] = strings.Join(v, ", ")
	}
	e := map[string]any{"name": u.name, "method": r.Method, "uri": r.RequestURI, "proto": r.Proto, "host": r.Host,
		"headers": fields, "body": string(text), "remote": r.RemoteAddr}
	if r.TLS != nil {
		e["sni"] = r.TLS.ServerName
		if len(r.TLS.PeerCertificates) > 0 {
			e["client"] = r.TLS.PeerCertificates[0].Subject.CommonName
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Seen-By", u.name)
	out, _ := json.Marshal(e)
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	w.Write(out)
}

func (u *upstream) fixed(s *scenario, args []string) error {
	code, err := strconv.Atoi(first(args))
	if err != nil {
		return fmt.Errorf("upstream status: %w", err)
	}
	text := ""
	if len(args) > 1 {
		if text, err = s.text(args[1]); err != nil {
			return err
		}
		args = args[2:]
	} else {
		args = nil
	}
	hs, err := headers(args)
	if err != nil {
		return err
	}
	u.serve(u.l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		u.note(string(dump))
		w.Header().Set("X-Seen-By", u.name)
		for _, h := range hs {
			w.Header().Add(h[0], h[1])
		}
		w.WriteHeader(code)
		io.WriteString(w, text)
	}))
	return nil
}

// raw reads whole requests and answers each with the same bytes. When these
// have no length the connection is closed behind them.
func (u *upstream) raw(c net.Conn, text string) {
	defer c.Close()
	var got bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &got))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		u.note(got.String())
		got.Reset()
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		head := strings.ToLower(text)
		if !strings.Contains(head, "content-length:") && !strings.Contains(head, "chunked") || strings.Contains(head, "connection: close") {
			return
		}
	}
}

func (u *upstream) datagrams() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := u.pc.ReadFrom(buf)
		if err != nil {
			return
		}
		u.note(string(buf[:n]))
		u.pc.WriteTo(fmt.Appendf(nil, "%s:%s", u.name, buf[:n]), from)
	}
}

// seen NAME TEXT says that a request at that upstream contained TEXT, seen NAME
// count=N that it got N requests.
func seen(s *scenario, not bool, args []string) error {
	if len(args) != 2 || s.upstreams[args[0]] == nil {
		return errors.New("usage: seen UPSTREAM TEXT|count=N")
	}
	all := s.upstreams[args[0]].requests()
	if n, ok := strings.CutPrefix(args[1], "count="); ok {
		if (strconv.Itoa(len(all)) == n) == not {
			return fmt.Errorf("%s got %d requests", args[0], len(all))
		}
		return nil
	}
	found := false
	for _, r := range all {
		found = found || strings.Contains(r, s.expand(args[1]))
	}
	if found == not {
		return fmt.Errorf("%s got %q", args[0], all)
	}
	return nil
}
