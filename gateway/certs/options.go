package certs

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// settings are Options, compiled.
type settings struct {
	versions   []uint16 // ascending
	ciphers    []uint16 // nil: Go's choice
	nextProtos []string
	tickets    bool
}

var versionIDs = map[string]uint16{
	"TLSv1":   tls.VersionTLS10,
	"TLSv1.0": tls.VersionTLS10,
	"TLSv1.1": tls.VersionTLS11,
	"TLSv1.2": tls.VersionTLS12,
	"TLSv1.3": tls.VersionTLS13,
}

// cipherIDs are the suites that both OpenSSL and Go have. Those of TLS 1.3
// cannot be chosen.
var cipherIDs = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// compileOptions never fails altogether: what it cannot use is reported, and a
// default taken. Suites that Go does not have are passed over in silence, the
// lists that people copy are full of them.
func compileOptions(o *Options) (settings, []error) {
	s := settings{versions: []uint16{tls.VersionTLS12, tls.VersionTLS13}, nextProtos: o.NextProtos, tickets: o.Tickets}
	var errs []error
	if len(o.Protocols) > 0 {
		v, err := parseVersions(o.Protocols)
		if err != nil {
			errs = append(errs, err)
		} else {
			s.versions = v
		}
	}
	for name := range strings.SplitSeq(o.Ciphers, ":") {
		if id, ok := cipherIDs[strings.TrimSpace(name)]; ok {
			s.ciphers = append(s.ciphers, id)
		}
	}
	if o.Ciphers != "" && len(s.ciphers) == 0 {
		errs = append(errs, fmt.Errorf("ssl_ciphers %q: none of them is available", o.Ciphers))
	}
	return s, errs
}

func parseVersions(names []string) ([]uint16, error) {
	var v []uint16
	for _, name := range names {
		id, ok := versionIDs[name]
		if !ok {
			return nil, fmt.Errorf("ssl_protocols: unknown protocol %q", name)
		}
		v = append(v, id)
	}
	slices.Sort(v)
	return slices.Compact(v), nil
}

// ranges joins neighbouring versions, the highest first.
func ranges(versions []uint16) []versioned {
	var rs []versioned
	for _, v := range slices.Backward(versions) {
		if n := len(rs); n > 0 && rs[n-1].min == v+1 {
			rs[n-1].min = v
			continue
		}
		rs = append(rs, versioned{min: v, max: v})
	}
	return rs
}
