package batchrequests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"sluice/plugins"
)

// maxAnswers bounds the bodies of all answers of a batch together.
const maxAnswers = 64 << 20

// caller makes the requests of a batch at our own listener, one after the
// other on one connection.
type caller struct {
	c       *plugins.Ctx
	timeout time.Duration
	conn    net.Conn
	in      *bufio.Reader
	size    int64 // of the bodies so far
}

// dial connects to the port by which the batch came: at the loopback address,
// or where the listener really is.
func (k *caller) dial() error {
	local := k.c.Req.Local
	d := net.Dialer{Timeout: k.timeout}
	conn, err := d.DialContext(k.c.Context, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), local.Port()).String())
	if err != nil && local.Addr().IsValid() {
		conn, err = d.DialContext(k.c.Context, "tcp", local.String())
	}
	if err != nil {
		return err
	}
	if s := k.c.Req.TLS; s != nil { // it is ourselves: there is nothing to verify
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: s.ServerName, NextProtos: []string{"http/1.1"}})
	}
	k.close()
	k.conn, k.in = conn, bufio.NewReader(conn)
	return nil
}

func (k *caller) close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// run makes the requests. Once one is not answered, the others are not either.
func (k *caller) run(list []request) ([]answer, error) {
	texts := make([][]byte, len(list))
	for i := range list {
		var err error
		if texts[i], err = list[i].text(); err != nil {
			return nil, err
		}
	}
	answers := make([]answer, len(list))
	for i := range list {
		a, err := k.call(texts[i], list[i].Method)
		if err != nil {
			k.c.Log().Error("request of a batch failed, timeout or connection closed", "err", err)
			for ; i < len(list); i++ {
				answers[i] = answer{Status: 504, Reason: "upstream timeout"}
			}
			break
		}
		answers[i] = a
	}
	return answers, nil
}

func (k *caller) call(text []byte, method string) (a answer, err error) {
	if k.conn == nil {
		if err := k.dial(); err != nil {
			return a, err
		}
	}
	conn := k.conn
	if err := conn.SetDeadline(time.Now().Add(k.timeout)); err != nil {
		return a, err
	}
	stop := context.AfterFunc(k.c.Context, func() { conn.Close() }) // for a client that is gone
	defer stop()
	if _, err := conn.Write(text); err != nil {
		return a, err
	}
	head, err := readHead(k.in)
	if err != nil {
		return a, err
	}
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), k.in)), &http.Request{Method: method})
	if err != nil {
		return a, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswers-k.size+1))
	k.size += int64(len(body))
	_, reason, _ := strings.Cut(res.Status, " ")
	a = answer{Status: res.StatusCode, Reason: reason, Headers: fields(head)}
	switch {
	case k.size > maxAnswers:
		k.size, err = maxAnswers, errors.New("the answers are too long")
		fallthrough
	case err != nil:
		a.BodyErr = err.Error()
		res.Close = true
	case method != "HEAD" && res.StatusCode != 204 && res.StatusCode != 304:
		text := string(body)
		a.Body = &text
	}
	if res.Close {
		k.close()
	}
	return a, nil
}
