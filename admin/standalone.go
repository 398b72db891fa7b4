package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// maxDocument bounds a whole configuration sent at once.
const maxDocument = 256 << 20

// Names of the two extra members and headers of the document.
const (
	lastModified = "X-Last-Modified"
	digestName   = "X-Digest"
)

// Standalone holds a whole configuration in memory, as sent by PUT configs. It
// is the gateway's configcenter.Source at the same time. The zero value is
// empty and ready.
type Standalone struct {
	handler *Handler // set by New

	mu      sync.Mutex
	doc     object // nil: nothing stored; never changed once set
	rev     int64
	changed chan struct{} // closed by the next store
}

var _ configcenter.Source = (*Standalone)(nil)

func (s *Standalone) serve(w http.ResponseWriter, r *http.Request, _ string) answer {
	switch r.Method {
	case http.MethodPut:
		return s.put(w, r)
	case http.MethodHead:
		s.stampHeaders(w.Header(), s.current())
		return answer{code: http.StatusOK}
	}
	return s.get(w, r)
}

func (s *Standalone) current() object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doc
}

func (s *Standalone) stampHeaders(h http.Header, doc object) {
	for _, name := range []string{lastModified, digestName} {
		if v := idText(doc[name]); v != "" {
			h.Set(name, v)
		}
	}
}

func (s *Standalone) get(w http.ResponseWriter, r *http.Request) answer {
	doc := s.current()
	s.stampHeaders(w.Header(), doc)
	if doc == nil {
		doc = object{}
		for _, k := range batchKinds {
			doc[versionMember(k)] = 0
		}
	}
	text, err := encode(doc)
	if err == nil && strings.HasPrefix(r.Header.Get("Accept"), "application/yaml") {
		w.Header().Set("Content-Type", "application/yaml")
		text, err = toYAML(text)
	}
	if err != nil {
		return fail(http.StatusInternalServerError, "%s", err.Error())
	}
	return answer{http.StatusOK, string(text)}
}

// toYAML writes a JSON text as YAML; JSON is YAML, so its numbers stay exact.
func toYAML(text []byte) ([]byte, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		return nil, err
	}
	block(&n)
	return yaml.Marshal(&n)
}

// block drops the flow style and the quotes that a node read from JSON has.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

func (s *Standalone) put(w http.ResponseWriter, r *http.Request) answer {
	digest := r.Header.Get(digestName)
	if len(r.Header.Values(digestName)) == 0 {
		return fail(http.StatusBadRequest, "missing digest header")
	}
	sent, bad := readDocument(r, maxDocument)
	if bad != nil {
		return *bad
	}
	old := s.current()
	if old != nil && old[digestName] == digest {
		return answer{code: http.StatusNoContent}
	}
	if found := s.handler.faults(r.Context(), sent, false); len(found) > 0 {
		return fail(http.StatusBadRequest, "%s", found[0].Error)
	}
	next, bad := successor(old, sent)
	if bad != nil {
		return *bad
	}
	next[lastModified] = json.Number(strconv.FormatInt(s.handler.Now().Unix(), 10))
	next[digestName] = digest
	s.set(next)
	s.stampHeaders(w.Header(), next)
	return answer{code: http.StatusAccepted}
}

// successor is the document after old: kinds whose version stays keep their
// objects, versions not sent are counted up.
func successor(old, sent object) (object, *answer) {
	next := object{}
	for _, k := range batchKinds {
		member := versionMember(k)
		before := versionOf(old, k)
		version := before + 1
		if sent[member] != nil {
			version = versionOf(sent, k)
			if version < before {
				return nil, refusal("%s must be greater than or equal to (%s)", member, formatVersion(before))
			}
		}
		next[member] = json.Number(formatVersion(version))
		items := sent[string(k)]
		if version == before {
			items = old[string(k)]
		}
		if list, ok := items.([]any); ok && len(list) > 0 {
			next[string(k)] = list
		}
	}
	return next, nil
}

func versionOf(doc object, k resource.Kind) float64 {
	n, _ := doc[versionMember(k)].(json.Number)
	f, _ := n.Float64() // absent: 0
	return f
}

func formatVersion(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (s *Standalone) set(doc object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doc = doc
	s.rev++
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// state is the document, its revision, and a channel closed when it is outdated.
func (s *Standalone) state() (object, int64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.doc, s.rev, s.changed
}

// Watch yields the stored document, and again each time it changes. Every
// batch is full; an object's revision is its modifiedIndex, else its kind's version.
func (s *Standalone) Watch(ctx context.Context) iter.Seq2[configcenter.Batch, error] {
	return func(yield func(configcenter.Batch, error) bool) {
		for {
			doc, rev, changed := s.state()
			b := configcenter.Batch{Rev: rev, Full: true}
			for _, k := range batchKinds {
				b.Changes = append(b.Changes, changesOf(doc, k)...)
			}
			if !yield(b, nil) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func changesOf(doc object, k resource.Kind) []configcenter.Change {
	items, _ := doc[string(k)].([]any)
	version := int64(versionOf(doc, k))
	if k == resource.PluginList {
		if len(items) == 0 {
			return nil
		}
		text, err := encode(items)
		if err != nil {
			return nil // cannot be: it came from JSON
		}
		return []configcenter.Change{{Kind: k, Value: text, Create: version, Mod: version}}
	}
	changes := make([]configcenter.Change, 0, len(items))
	for i, v := range items {
		item, ok := inspect.Object(v)
		if !ok {
			continue
		}
		ch := configcenter.Change{Kind: k, ID: cmp.Or(idText(item["id"]), idText(item["username"]), strconv.Itoa(i+1)),
			Create: version, Mod: version}
		if n, ok := item["modifiedIndex"].(json.Number); ok {
			if rev, err := n.Int64(); err == nil {
				ch.Create, ch.Mod = rev, rev
			}
			item = maps.Clone(item)
			delete(item, "modifiedIndex")
		}
		if k == resource.Consumers && strings.Contains(ch.ID, "/credentials/") {
			ch.Kind = resource.Credentials
		}
		text, err := encode(item)
		if err != nil {
			continue // cannot be: it came from JSON
		}
		ch.Value = text
		changes = append(changes, ch)
	}
	return changes
}
