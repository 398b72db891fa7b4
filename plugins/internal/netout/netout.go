// Package netout opens the connections over TCP and UDP that plugins need
// beside the request's own way: within a time limit.
//
// It does not know who is called, nor what is said.
package netout

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
)

// Dial connects to host, a name or an address, an IPv6 one with or without
// brackets. It takes no longer than limit; what is then done on the connection
// ends with an error after another limit, or with ctx's deadline.
func Dial(ctx context.Context, network, host string, port int, limit time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: limit}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(limit)
	if last, ok := ctx.Deadline(); ok && last.Before(end) {
		end = last
	}
	if err := conn.SetDeadline(end); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
