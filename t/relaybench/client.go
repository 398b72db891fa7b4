package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"net"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// watcher is a client with one connection and one watch. It speaks no more of
// HTTP/2 and gRPC than that takes: the load shall cost little of the machine
// that it shares with what is measured.
type watcher struct {
	conn    net.Conn
	fr      *http2.Framer
	pending []byte // of a message that is not complete
	next    int64  // number of the update that must come next; 0: any
	seen    atomic.Int64
	wrong   atomic.Int64
	into    atomic.Pointer[histogram]
}

const prefix = "/bench/"

// open connects and watches the prefix. window is how much may be sent before
// the client reads; what a stuck client never does.
func open(addr string, window uint32, into *histogram) (*watcher, error) {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	w := &watcher{conn: conn, fr: http2.NewFramer(conn, bufio.NewReaderSize(conn, 2048))}
	w.into.Store(into)
	w.fr.SetReuseFrames()
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&out, nil)
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", pb.Watch_Watch_FullMethodName}, {":authority", addr},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return nil, err
		}
	}
	create, err := proto.Marshal(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte(prefix), RangeEnd: []byte("/bench0")}}})
	if err != nil {
		return nil, err
	}
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(create))), create...)
	err = errors.Join(fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}),
		fr.WriteWindowUpdate(0, math.MaxInt32-65535),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}),
		fr.WriteData(1, false, message))
	if err == nil {
		_, err = conn.Write(out.Bytes())
	}
	if err == nil {
		err = w.created()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch at %s: %w", addr, err)
	}
	return w, nil
}

// created returns when the watch is there.
func (w *watcher) created() error {
	if err := w.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	for done := false; !done; {
		err := w.read(func(m []byte) error {
			var a pb.WatchResponse
			if err := proto.Unmarshal(m, &a); err != nil {
				return err
			}
			if a.Canceled {
				return errors.New(a.CancelReason)
			}
			done = a.Created
			return nil
		})
		if err != nil {
			return err
		}
	}
	return w.conn.SetReadDeadline(time.Time{})
}

// run takes what comes until the connection ends.
func (w *watcher) run() error {
	for {
		if err := w.read(w.take); err != nil {
			return err
		}
	}
}

// read handles one frame.
func (w *watcher) read(message func([]byte) error) error {
	f, err := w.fr.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		return w.data(f.Data(), message)
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return w.fr.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return w.fr.WritePing(true, f.Data)
		}
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			return io.EOF
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("the stream was reset: %v", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("the connection was ended: %v", f.ErrCode)
	}
	return nil
}

func (w *watcher) data(d []byte, message func([]byte) error) error {
	if len(w.pending) > 0 {
		w.pending = append(w.pending, d...)
		d = w.pending
	}
	for len(d) >= 5 {
		n := int(binary.BigEndian.Uint32(d[1:]))
		if len(d) < 5+n {
			break
		}
		if err := message(d[5 : 5+n]); err != nil {
			return err
		}
		d = d[5+n:]
	}
	w.pending = append(w.pending[:0], d...)
	return nil
}

// take counts the events of a response. The value of each is its number and
// when it was written.
func (w *watcher) take(m []byte) error {
	now := time.Now().UnixNano()
	w.into.Load().messages.Add(1)
	return fields(m, func(num protowire.Number, event []byte) error {
		if num != 11 {
			return nil
		}
		return fields(event, func(num protowire.Number, kv []byte) error {
			if num != 2 {
				return nil
			}
			return fields(kv, func(num protowire.Number, value []byte) error {
				if num == 5 && len(value) >= 16 {
					w.count(int64(binary.BigEndian.Uint64(value)), now-int64(binary.BigEndian.Uint64(value[8:])))
				}
				return nil
			})
		})
	})
}

func (w *watcher) count(number, delay int64) {
	if w.next != 0 && number != w.next {
		w.wrong.Add(1)
	}
	w.next = number + 1
	w.seen.Store(number)
	w.into.Load().add(delay)
}

// fields calls f for the fields of a message that have a length.
func fields(m []byte, f func(protowire.Number, []byte) error) error {
	for len(m) > 0 {
		num, typ, n := protowire.ConsumeTag(m)
		if n < 0 {
			return protowire.ParseError(n)
		}
		m = m[n:]
		if typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(m)
			if n < 0 {
				return protowire.ParseError(n)
			}
			if err := f(num, v); err != nil {
				return err
			}
			m = m[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, m); n < 0 {
			return protowire.ParseError(n)
		}
		m = m[n:]
	}
	return nil
}

// histogram counts delays, 16 classes to each doubling.
type histogram struct {
	counts   [64 * 16]atomic.Int64
	messages atomic.Int64 // that the delays came in
}

func (h *histogram) add(ns int64) {
	v := uint64(max(ns, 16))
	e := bits.Len64(v) - 1
	h.counts[e*16+int(v>>(e-4)&15)].Add(1)
}

// at is the delay that a part of all is not above.
func (h *histogram) at(part float64) time.Duration {
	var all int64
	for i := range h.counts {
		all += h.counts[i].Load()
	}
	left := int64(float64(all) * part)
	for i := range h.counts {
		if left -= h.counts[i].Load(); left < 0 {
			e := i / 16
			return time.Duration((16 + uint64(i%16) + 1) << e >> 4)
		}
	}
	return 0
}
