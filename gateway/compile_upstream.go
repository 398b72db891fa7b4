package gateway

import (
	"crypto/tls"
	"fmt"

	"sluice/configcenter/resource"
	"sluice/gateway/certs"
	"sluice/plugins"
)

// upstream settles where the route's requests go. A route's own words win over
// its service's, and an id over an inline definition.
func (b *routeBuilder) upstream() error {
	def, s := b.r.def, b.r.service
	id, inline, owner := string(def.UpstreamID), def.Upstream, b.owner
	if id == "" && inline == nil && s != nil {
		id, inline, owner = string(s.UpstreamID), s.Upstream, "services/"+string(def.ServiceID)
	}
	if id != "" {
		b.r.slot = b.upstreams.reserve(id)
		b.r.upstreamID = id
		return nil
	}
	if inline == nil {
		return nil
	}
	u, err := b.upstreams.compile(owner, inline)
	if err != nil {
		b.o.Log.Error("upstream cannot be used, its requests get 502", "route_id", string(def.ID), "err", err)
		b.r.badUpstream = true
		return nil
	}
	b.r.inline = u
	return nil
}

// compileCerts rebuilds the certificate store when an ssl object changed; what
// did not change in it is reused.
func (k *compiler) compileCerts(t *table, old *table, dirty map[string]struct{}) {
	if len(dirty) == 0 {
		return
	}
	var ssls []*resource.SSL
	for item := range k.snap.All(resource.SSLs) {
		clear, err := k.sslInClear(item)
		if err != nil {
			k.fail(resource.SSLs, item.ID, err)
			continue
		}
		ssls = append(ssls, clear)
	}
	next, errs := certs.New(old.certs, ssls, &k.o.TLS)
	for _, err := range errs {
		k.o.Log.Error("ssl cannot be used", "err", err)
	}
	t.certs = next
}

// clientCertificate is the ssl object of type client called id, for upstreams.
func (k *compiler) clientCertificate(id string) (*tls.Certificate, error) {
	item := k.snap.Get(resource.SSLs, id)
	if item == nil {
		return nil, fmt.Errorf("failed to fetch ssl info by ssl id [%s]", id)
	}
	s, err := k.sslInClear(item)
	if err != nil {
		return nil, err
	}
	if s.Type != "client" {
		return nil, fmt.Errorf("failed to fetch ssl info by ssl id [%s], wrong ssl type", id)
	}
	c, err := tls.X509KeyPair([]byte(s.Cert), []byte(s.Key))
	if err != nil {
		return nil, fmt.Errorf("ssl %s: %w", id, err)
	}
	return &c, nil
}

var _ plugins.Upstream = (*upstream)(nil)
