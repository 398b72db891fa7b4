// Package certs chooses certificates by server name and verifies client
// certificates, from ssl objects whose keys are decrypted already.
//
// It knows no listeners, no routes and no store of configuration.
package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/configcenter/resource"
)

// Options hold for all ssl objects of a process. Zero values stand for
// APISIX's defaults.
type Options struct {
	Protocols   []string // "TLSv1.2", …; TLS 1.2 and 1.3 when empty
	Ciphers     string   // OpenSSL names with colons between; of TLS 1.2 and older
	FallbackSNI string   // name assumed for clients that send none; "" refuses them
	NextProtos  []string // ALPN, preferred first
	// Tickets allows sessions to be resumed by tickets, by the same name only.
	// Names that ask for a client certificate never resume.
	Tickets bool
}

// Store holds the certificates of one version. Immutable; safe for concurrent use.
type Store struct {
	opts     *Options
	settings settings
	entries  []*entry
	exact    map[string]*entry
	wildcard map[string]*entry // by what follows the star
}

// New makes a store of the server certificates among items, in order: of two
// that serve the same name the first one counts. What prev (may be nil) made
// of the same items under the same options is taken over. An item that cannot
// be used is left out and reported.
func New(prev *Store, items []*resource.SSL, o *Options) (*Store, []error) {
	s := &Store{opts: o, exact: map[string]*entry{}, wildcard: map[string]*entry{}}
	var errs []error
	var old map[*resource.SSL]*entry
	if prev != nil && prev.opts == o {
		s.settings = prev.settings
		old = make(map[*resource.SSL]*entry, len(prev.entries))
		for _, e := range prev.entries {
			old[e.def] = e
		}
	} else {
		s.settings, errs = compileOptions(o)
	}
	for _, def := range items {
		if def.Type == "client" || def.Status != nil && *def.Status == 0 {
			continue
		}
		e := old[def]
		if e == nil {
			var err error
			if e, err = newEntry(def, &s.settings); err != nil {
				errs = append(errs, fmt.Errorf("ssl %q: %w", def.ID, err))
				continue
			}
		}
		s.add(e)
	}
	return s, errs
}

func (s *Store) add(e *entry) {
	s.entries = append(s.entries, e)
	for _, name := range e.names {
		to, key := s.exact, name
		if strings.HasPrefix(name, "*") {
			to, key = s.wildcard, name[1:]
		}
		if to[key] == nil {
			to[key] = e
		}
	}
}

// Len is the number of ssl objects in use.
func (s *Store) Len() int { return len(s.entries) }

// match finds the entry for a normal name: exact names first, then the longest
// wildcard. A star stands for text without a dot; a star alone for everything.
func (s *Store) match(name string) *entry {
	if e := s.exact[name]; e != nil {
		return e
	}
	if len(s.wildcard) == 0 || name == "" {
		return nil
	}
	for i := range len(name) {
		if name[i] == '.' && i == 0 {
			break
		}
		if e := s.wildcard[name[i:]]; e != nil {
			return e
		}
		if name[i] == '.' {
			break
		}
	}
	return s.wildcard[""]
}

// serverName is the normal form of the name a client asked for.
func (s *Store) serverName(sni string) string {
	if sni == "" {
		sni = s.opts.FallbackSNI
	}
	return normal(sni)
}

func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// GetConfigForClient is for tls.Config: it picks the settings of a handshake by
// the server name.
func (s *Store) GetConfigForClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	name := s.serverName(hello.ServerName)
	if name == "" {
		return nil, errors.New("failed to find SNI: please check if the client requests via IP or uses an outdated protocol")
	}
	e := s.match(name)
	if e == nil {
		return nil, fmt.Errorf("failed to match any SSL certificate by SNI: %s", name)
	}
	return e.config(hello), nil
}

// Names are all server names that have a certificate, sorted.
func (s *Store) Names() []string {
	var names []string
	for _, e := range s.entries {
		names = append(names, e.names...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
