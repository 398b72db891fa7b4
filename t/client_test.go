package t

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is the last response, whoever gave it.
type answer struct {
	status int
	header http.Header
	body   string
	tls    *tls.ConnectionState
	raw    bool // body is everything that came over the wire
}

func (a *answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", a.status)
	if !a.raw {
		a.header.Write(&b)
	}
	text := a.body
	if len(text) > 2000 {
		text = text[:2000] + "…"
	}
	fmt.Fprintf(&b, "\n%s", text)
	return b.String()
}

// request is what get and the Admin API verbs send.
type request struct {
	method, url, host, body string
	header                  [][2]string
	from                    string // local address
	proto                   string // "", h2, h2c, http1
	sni                     string
	cert                    string // name of a client certificate
}

// do sends r. Redirects are not followed and nothing is decompressed.
func (s *scenario) do(r request) (*answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("User-Agent", "scenario")
	for _, h := range r.header {
		req.Header.Add(h[0], h[1])
	}
	if r.host != "" {
		req.Host = r.host
	}
	c, err := s.httpClient(r)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("body after %d bytes: %w", len(text), err)
	}
	for name, v := range resp.Trailer {
		resp.Header["Trailer:"+name] = v
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: string(text), tls: resp.TLS}, nil
}

// httpClient keeps one client, with its connections, for each way to connect.
func (s *scenario) httpClient(r request) (*http.Client, error) {
	key := strings.Join([]string{r.from, r.proto, r.sni, r.cert}, " ")
	if c := s.client[key]; c != nil {
		return c, nil
	}
	d := &net.Dialer{Timeout: limit}
	if r.from != "" {
		ip := net.ParseIP(r.from)
		if ip == nil {
			return nil, fmt.Errorf("from=%s: no address", r.from)
		}
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	// the scenarios look at the certificate themselves (peer)
	t := &http.Transport{DialContext: d.DialContext, DisableCompression: true, Protocols: new(http.Protocols),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: r.sni}}
	switch r.proto {
	case "h2":
		t.Protocols.SetHTTP2(true)
	case "h2c":
		t.Protocols.SetUnencryptedHTTP2(true)
	default:
		t.Protocols.SetHTTP1(true)
	}
	if r.cert != "" {
		pair, err := s.ca.pair(r.cert)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	c := &http.Client{Transport: t, Timeout: limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.client[key] = c
	return c, nil
}

// text is the content of a file of the script, variables replaced, or arg
// itself when it is no file's name.
func (s *scenario) text(arg string) (string, error) {
	if arg != "" && len(arg) < 200 && !strings.ContainsAny(arg, "{\n ") {
		b, err := os.ReadFile(filepath.Join(s.dir, arg))
		if err == nil {
			return s.expand(string(b)), nil
		}
		if !errors.Is(err, os.ErrNotExist) && !strings.Contains(arg, "/") {
			return "", err
		}
	}
	return s.expand(arg), nil
}

var variable = regexp.MustCompile(`\$[A-Z][A-Z0-9_]*`)

// expand replaces $NAME of the scenario's own variables; others stay as they
// are, for they may be nginx's.
func (s *scenario) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if u := s.upstreams[v[1:]]; u != nil {
			return u.addr
		}
		if u := s.upstreams[strings.TrimSuffix(v[1:], "PORT")]; u != nil {
			_, port, _ := net.SplitHostPort(u.addr)
			return port
		}
		if port, ok := portNames[v[1:]]; ok {
			return strconv.Itoa(port)
		}
		if v == "$KEY" {
			return adminKey
		}
		if v == "$IP" {
			return s.ip
		}
		if s.ca != nil {
			if t, ok := s.ca.env[v[1:]]; ok {
				return t
			}
		}
		return v
	})
}

// options splits "name=value" arguments from the others. The text before "="
// must be a known option, so that a body may contain "=".
func options(args []string, known ...string) (rest []string, opts map[string][]string) {
	opts = map[string][]string{}
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if slices.Contains(known, name) && (ok || slices.Contains([]string{"h2", "h2c", "tls"}, name)) {
			opts[name] = append(opts[name], value)
			continue
		}
		rest = append(rest, a)
	}
	return rest, opts
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// headers turns "Name: value" options into fields.
func headers(opts []string) ([][2]string, error) {
	var hs [][2]string
	for _, o := range opts {
		name, value, ok := strings.Cut(o, ":")
		if !ok {
			return nil, fmt.Errorf("header=%q: \"Name: value\" is wanted", o)
		}
		hs = append(hs, [2]string{name, strings.TrimSpace(value)})
	}
	return hs, nil
}

// admin makes the verb METHOD PATH [BODY] [key=K] [header='N: V'] [from=IP].
// PATH counts from /apisix/admin/ unless it begins with "/". Without "!" the
// answer must be below 400, with it 400 or above.
func admin(method string) verb {
	return func(s *scenario, not bool, args []string) error {
		if err := s.up(); err != nil {
			return err
		}
		rest, opts := options(args, "key", "header", "from")
		if len(rest) == 0 || len(rest) > 2 {
			return fmt.Errorf("usage: %s PATH [BODY] [key=K] [header='N: V']", strings.ToLower(method))
		}
		path := rest[0]
		if !strings.HasPrefix(path, "/") {
			path = "/apisix/admin/" + path
		}
		r := request{method: method, url: fmt.Sprintf("http://%s:%d%s", s.ip, adminPort, path), from: first(opts["from"])}
		var err error
		if r.header, err = headers(opts["header"]); err != nil {
			return err
		}
		if key := append(opts["key"], adminKey)[0]; key != "" {
			r.header = append(r.header, [2]string{"X-API-KEY", key})
		}
		if len(rest) == 2 {
			if r.body, err = s.text(rest[1]); err != nil {
				return err
			}
		}
		if s.answer, err = s.do(r); err != nil {
			return err
		}
		failed := s.answer.status >= 400
		if !failed {
			s.dirty = true
		}
		if failed != not {
			return fmt.Errorf("%s %s: status %d", method, path, s.answer.status)
		}
		return nil
	}
}

// services are the values of get's option to=.
var services = map[string]int{"": httpPort, "admin": adminPort, "control": controlPort, "status": statusPort, "metrics": metricsPort}

// get PATH [method=M] [host=H] [header='N: V'] [body=TEXT|FILE] [from=IP]
// [tls] [h2] [h2c] [sni=N] [cert=NAME] [to=SERVICE] [port=N] [times=N]. With "!"
// there must be no answer at all.
func get(s *scenario, not bool, args []string) error {
	if err := s.settle(); err != nil {
		return err
	}
	rest, o := options(args, "method", "host", "header", "body", "from", "tls", "h2", "h2c", "sni", "cert", "to", "port", "times")
	for _, values := range o {
		for i := range values {
			values[i] = s.expand(values[i])
		}
	}
	if len(rest) != 1 || !strings.HasPrefix(rest[0], "/") {
		return errors.New("usage: get /PATH [OPTIONS]")
	}
	r := request{method: "GET", host: first(o["host"]), from: first(o["from"]), sni: first(o["sni"]), cert: first(o["cert"])}
	if m := first(o["method"]); m != "" {
		r.method = m
	}
	scheme, port := "http", services[first(o["to"])]
	if o["tls"] != nil || o["h2"] != nil || r.sni != "" || r.cert != "" {
		scheme, port = "https", httpsPort
	}
	for _, p := range []string{"h2", "h2c"} {
		if o[p] != nil {
			r.proto = p
		}
	}
	if p := first(o["port"]); p != "" {
		port, _ = strconv.Atoi(p)
	}
	r.url = fmt.Sprintf("%s://%s:%d%s", scheme, s.ip, port, s.expand(rest[0]))
	var err error
	if r.header, err = headers(o["header"]); err != nil {
		return err
	}
	if r.body, err = s.text(first(o["body"])); o["body"] != nil && err != nil {
		return err
	} else if o["body"] == nil {
		r.body = ""
	}
	times := 1
	if t := first(o["times"]); t != "" {
		if times, err = strconv.Atoi(t); err != nil {
			return fmt.Errorf("times=%s: %w", t, err)
		}
	}
	for range times {
		s.answer, err = s.do(r)
		if not && err == nil {
			return errors.New("there is an answer")
		}
		if not {
			s.answer = nil
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send BYTES|FILE [tls] [close] sends bytes as they are (\r, \n, \t, \xNN are
// escapes) and takes everything until the gateway closes, or is silent after
// whole answers. The status is that of the last answer; "!" wants none.
func send(s *scenario, not bool, args []string) error {
	if err := s.settle(); err != nil {
		return err
	}
	rest, o := options(args, "tls", "port", "from")
	if len(rest) != 1 {
		return errors.New("usage: send BYTES|FILE [tls] [port=N]")
	}
	text, err := s.text(rest[0])
	if err != nil {
		return err
	}
	data, err := unescape(text)
	if err != nil {
		return err
	}
	port := httpPort
	if o["tls"] != nil {
		port = httpsPort
	}
	if p := first(o["port"]); p != "" {
		port, _ = strconv.Atoi(p)
	}
	c, err := net.DialTimeout("tcp", net.JoinHostPort(s.ip, strconv.Itoa(port)), limit)
	if err != nil {
		return err
	}
	defer c.Close()
	if o["tls"] != nil {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	c.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(c, data); err != nil && !not {
		return err
	}
	s.answer = readRaw(c, data)
	if not != (s.answer.status == 0) {
		return fmt.Errorf("answer: %q", s.answer.body)
	}
	return nil
}

// readRaw reads as many answers as data has requests, as far as one can tell.
func readRaw(c net.Conn, data string) *answer {
	var seen bytes.Buffer
	a := &answer{raw: true, header: http.Header{}}
	r := bufio.NewReader(io.TeeReader(c, &seen))
	method, _, _ := strings.Cut(data, " ")
	want := max(1, strings.Count(data, " HTTP/1."))
	for n := 0; n < want; n++ {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			break
		}
		_, err = io.Copy(io.Discard, resp.Body)
		a.status, a.header = resp.StatusCode, resp.Header
		if resp.StatusCode < 200 {
			n--
		}
		if err != nil || resp.Close {
			break
		}
	}
	a.body = seen.String()
	return a
}

// unescape turns a line of a script into bytes. A real line break of a file
// becomes CR LF unless the text writes its line ends itself.
func unescape(text string) (string, error) {
	if !strings.Contains(text, `\n`) {
		return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n"), nil
	}
	text = strings.ReplaceAll(text, "\n", "")
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	if err != nil {
		return "", fmt.Errorf("send %q: %w", text, err)
	}
	return out, nil
}
