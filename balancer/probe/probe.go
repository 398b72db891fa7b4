// Package probe asks a server how it is, over TCP, HTTP or HTTPS, for the
// active health checks of package balancer.
//
// It does not know upstreams or what an answer means for a server's health.
package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"sluice/balancer"
)

// maxLine bounds the status line of an answer, in bytes.
const maxLine = 4096

// New returns a probe that verifies servers against roots; nil: the system's.
// Every probe opens a connection, sends one request, reads the status line and
// closes the connection.
func New(roots *x509.CertPool) balancer.Probe {
	return func(ctx context.Context, s balancer.ProbeSpec) (int, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.Addr)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		switch s.Type {
		case "tcp":
			return 0, nil
		case "https":
			secure := tls.Client(conn, &tls.Config{
				ServerName: serverName(s.Host), RootCAs: roots, InsecureSkipVerify: !s.Verify,
			})
			if err := secure.HandshakeContext(ctx); err != nil {
				// Not wrapped: any failed handshake counts as a TCP failure.
				return 0, fmt.Errorf("handshake with %s: %s", s.Addr, err)
			}
			conn = secure
		}
		return ask(conn, &s)
	}
}

func serverName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

func ask(conn net.Conn, s *balancer.ProbeSpec) (int, error) {
	req, err := request(s)
	if err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, req); err != nil {
		return 0, err
	}
	line, err := bufio.NewReaderSize(io.LimitReader(conn, maxLine), maxLine).ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return 0, err
	}
	return statusOf(line), nil
}

// request is the probe's request; nothing configured can add a line to it.
func request(s *balancer.ProbeSpec) (string, error) {
	for _, part := range append([]string{s.Method, s.Path, s.Host}, s.Header...) {
		if strings.ContainsAny(part, "\r\n") {
			return "", fmt.Errorf("probe of %s: line break in %q", s.Addr, part)
		}
	}
	if !strings.HasPrefix(s.Path, "/") {
		return "", fmt.Errorf("probe of %s: path %q does not start with /", s.Addr, s.Path)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nConnection: close\r\n", s.Method, s.Path)
	for _, h := range s.Header {
		b.WriteString(h + "\r\n")
	}
	if s.Body != "" {
		b.WriteString("Content-Length: " + strconv.Itoa(len(s.Body)) + "\r\n")
	}
	fmt.Fprintf(&b, "Host: %s\r\n\r\n%s", s.Host, s.Body)
	return b.String(), nil
}

// statusOf is the status in a status line, or 0 if it is none.
func statusOf(line string) int {
	version, rest, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	if !ok || len(version) < 8 || !strings.EqualFold(version[:5], "HTTP/") {
		return 0
	}
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	n, err := strconv.Atoi(code)
	if err != nil || n < 0 || n > 999 {
		return 0
	}
	return n
}
