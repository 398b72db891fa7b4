package gateway

import (
	"crypto/tls"
	"sync"
	"sync/atomic"

	"sluice/balancer"
	"sluice/gateway/uri"
	"sluice/gateway/wire"
)

// peers are the connection pools to one endpoint. Usually there is one;
// endpoints reached under several server names or schemes have more. It lives
// in the endpoint's slot, so pools outlive versions.
type peers struct {
	last atomic.Pointer[peerOf]
	mu   sync.Mutex
	all  map[peerID]*wire.Peer
}

// peerID is everything by which connections to one address must be kept apart.
type peerID struct {
	tls, http2 bool
	sni        string
	cert       *tls.Certificate
	keep       Keepalive
}

type peerOf struct {
	id   peerID
	peer *wire.Peer
}

// maxPeers bounds the pools of one endpoint: beyond it, an arbitrary one is
// closed, so that made-up server names cannot fill the memory.
const maxPeers = 64

func newPeers() any { return &peers{all: map[peerID]*wire.Peer{}} }

// Close closes all pools. The balancer calls it when the endpoint is forgotten.
func (ps *peers) Close() error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for id, p := range ps.all {
		p.Close()
		delete(ps.all, id)
	}
	ps.last.Store(nil)
	return nil
}

// peer is the pool for this request's scheme, server name and certificate.
func (u *upstream) peer(w *walk, ep *balancer.Endpoint) *wire.Peer {
	id := peerID{keep: u.keep}
	switch w.UpstreamScheme {
	case "https":
		id.tls = true
	case "grpc":
		id.http2 = true
	case "grpcs":
		id.tls, id.http2 = true, true
	}
	if id.tls {
		id.sni, id.cert = uri.Host(w.out.Host), u.cert
	}
	ps := ep.Slot(newPeers).(*peers)
	if l := ps.last.Load(); l != nil && l.id == id {
		return l.peer
	}
	return ps.get(id, ep.Addr)
}

func (ps *peers) get(id peerID, addr string) *wire.Peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.all[id]
	if p == nil {
		if len(ps.all) >= maxPeers {
			for other, victim := range ps.all {
				victim.Close()
				delete(ps.all, other)
				break
			}
		}
		id.sni = string([]byte(id.sni)) // the request's buffer goes, the key stays
		p = wire.NewPeer(id.options(addr))
		ps.all[id] = p
	}
	ps.last.Store(&peerOf{id, p})
	return p
}

func (id peerID) options(addr string) wire.PeerOptions {
	o := wire.PeerOptions{Addr: addr, HTTP2: id.http2, Idle: id.keep.Idle,
		IdleTimeout: id.keep.IdleTimeout, Requests: id.keep.Requests}
	if id.tls {
		// As APISIX does, a node's certificate is not verified: upstreams are
		// configured by the operator, mostly inside of one network.
		o.TLS = &tls.Config{ServerName: id.sni, InsecureSkipVerify: true}
		if id.cert != nil {
			o.TLS.Certificates = []tls.Certificate{*id.cert}
		}
	}
	return o
}
