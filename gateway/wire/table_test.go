package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// entry is one message of a table in testdata.
type entry struct{ name, raw, want string }

func readTable(t testing.TB, file string) (es []entry) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var e entry
	for i, line := range strings.Split(string(b), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case ":":
			e = entry{name: rest}
		case ">":
			s, err := strconv.Unquote(rest)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			e.raw += s
		case "=":
			e.want = rest
			es = append(es, e)
		}
	}
	return es
}

// recorder answers 200 and tells what it saw; 400 for a body that is broken.
type recorder struct{ saw chan string }

func (r recorder) Serve(x *Exchange) {
	q := &x.Req
	host := q.Host
	if host == "" {
		host = "-"
	}
	b, err := io.ReadAll(q.Body)
	select {
	case r.saw <- fmt.Sprintf("%s %s %s %d %q", q.Method, q.Target, host, q.ContentLength, b):
	default:
	}
	resp := Response{Status: 200}
	var e *Error
	if errors.As(err, &e) && e.Side == Client {
		resp.Status = 400
	}
	_, _ = x.Send(&resp, nil)
}

func TestRequestTable(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		rec := recorder{make(chan string, 1)}
		addr := serve(t, &Server{Handler: rec, Engine: engine, Timeouts: Timeouts{Linger: 50 * time.Millisecond}})
		es := readTable(t, "testdata/requests.txt")
		if len(es) < 150 {
			t.Errorf("only %d entries", len(es))
		}
		for _, e := range es {
			c := dial(t, addr)
			c.send(e.raw)
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			var got []string
			for {
				r, err := http.ReadResponse(c.r, nil)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, r.Body)
				got = append(got, strconv.Itoa(r.StatusCode))
			}
			c.Close()
			want, saw, _ := strings.Cut(e.want, " | ")
			if g := strings.Join(got, " "); g != want {
				t.Errorf("%s: statuses %q, want %q", e.name, g, want)
			}
			seen := ""
			select {
			case seen = <-rec.saw:
			default:
			}
			if saw != "" && seen != saw {
				t.Errorf("%s: handler saw %s, want %s", e.name, seen, saw)
			}
		}
	})
}

// scripted answers each connection's first request with one text and closes.
func scripted(t testing.TB, texts <-chan string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				_, _ = io.WriteString(nc, <-texts)
			}
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestResponseTable(t *testing.T) {
	kinds := map[Kind]string{Malformed: "malformed", Closed: "closed"}
	engines(t, func(t *testing.T, engine string) {
		texts := make(chan string, 1)
		addr, p, _ := startProxy(t, engine, scripted(t, texts))
		for _, e := range readTable(t, "testdata/responses.txt") {
			c := dial(t, addr)
			texts <- e.raw
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			var got string
			for {
				r, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatalf("%s: %v", e.name, err)
				}
				if r.StatusCode < 200 {
					continue
				}
				b, _ := io.ReadAll(r.Body)
				got = fmt.Sprintf("%d %q", r.StatusCode, b)
				break
			}
			select {
			case err := <-p.errs:
				var we *Error
				if !errors.As(err, &we) || we.Side != Upstream {
					t.Errorf("%s: error %v", e.name, err)
				} else if strings.HasPrefix(e.want, "502") {
					got = "502 " + kinds[we.Kind]
				}
			default:
			}
			if got != e.want {
				t.Errorf("%s: got %s, want %s", e.name, got, e.want)
			}
			c.Close()
		}
	})
}
