package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

var echoCommand = command{
	name: "echo", args: "[--listen 127.0.0.1:1980] [--tls]", summary: "be a small upstream to try things on",
	help: `Answers every request with that request as JSON: method, uri, host, headers,
body, remote. It speaks HTTP/1.1 and h2c, or with --tls HTTP/1.1 and h2 behind a
certificate made for the occasion.

Example:
  sluice echo --listen 127.0.0.1:1980
  curl http://127.0.0.1:1980/hello
`,
	run: echo,
}

// echoed is the answer. Header fields of the same name are joined with ", ".
type echoed struct {
	Method  string            `json:"method"`
	URI     string            `json:"uri"`
	Proto   string            `json:"proto"`
	Host    string            `json:"host"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Remote  string            `json:"remote"`
}

// echoBody bounds what is read of a request's body.
const echoBody = 16 << 20

func echo(c *command, env *environment, args []string) error {
	fs := c.flags(env)
	listen := fs.String("listen", "127.0.0.1:1980", "address to listen on")
	withTLS := fs.Bool("tls", false, "speak TLS")
	if err := parse(fs, args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", *listen, err)
	}
	if *withTLS {
		cert, err := selfSigned()
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
	}
	fmt.Fprintf(env.stdout, "echo listens on %s\n", l.Addr())
	srv := &http.Server{Handler: http.HandlerFunc(serveEcho), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(env.stderr, nil), slog.LevelWarn)}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }() // ends with Shutdown
	ctx, stop := env.untilSignal()
	defer stop()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		limit, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return srv.Shutdown(limit)
	}
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, echoBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e := echoed{Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, Headers: map[string]string{},
		Body: string(body), Remote: r.RemoteAddr}
	for name, values := range r.Header {
		e.Headers[name] = strings.Join(values, ", ")
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(e) // fails only when the client is gone
}
