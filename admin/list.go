package admin

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// item is one entry of a list.
type item struct {
	Key      string `json:"key"`
	Value    object `json:"value"`
	Created  int64  `json:"createdIndex"`
	Modified int64  `json:"modifiedIndex"`
}

// list answers GET {kind}.
func (h *Handler) list(q *query) answer {
	var changes []configcenter.Change
	var err error
	if q.parent != "" {
		changes, err = h.below(q.ctx, q.kind.kind, q.parent)
	} else {
		changes, err = h.Store.List(q.ctx, q.kind.kind)
	}
	if err != nil {
		return storeDown(err)
	}
	items := make([]item, 0, len(changes))
	for _, ch := range changes {
		value, err := decodeStored(ch.Value)
		if err != nil {
			h.Log.Warn("stored object left out of a list", "key", h.key(q.kind.kind, ch.ID), "err", err)
			continue
		}
		if q.kind.kind != resource.PluginMetadata {
			h.reveal(q.kind, ch.ID, value)
		}
		items = append(items, item{h.key(q.kind.kind, ch.ID), value, ch.Create, ch.Mod})
	}
	if len(items) == 0 && q.kind.kind == resource.GraphQLCostDecorations {
		return fail(http.StatusNotFound, "Key not found")
	}
	if len(items) == 0 && q.kind.kind == resource.Credentials {
		return keyNotFound
	}
	if h.V2 {
		dir := h.Store.Prefix() + "/" + string(q.kind.kind)
		return answer{http.StatusOK, object{"action": "get", "node": object{"key": dir, "dir": true, "nodes": items}}}
	}
	items = slices.DeleteFunc(items, newFilter(q).drops)
	total := len(items)
	items, bad := page(items, q.args)
	if bad != nil {
		return *bad
	}
	return answer{http.StatusOK, object{"total": total, "list": items}}
}

// filter is the conditions of a list query; all must hold.
type filter struct {
	name, uri *regexp.Regexp
	label     string
	fields    map[string]string
	never     bool // a pattern that cannot be compiled matches nothing
	byName    bool
	byURI     bool
	byLabel   bool
}

func newFilter(q *query) *filter {
	f := &filter{byName: q.args.Has("name"), byURI: q.args.Has("uri"), byLabel: q.args.Has("label"), label: q.args.Get("label")}
	if f.byName {
		f.name = f.pattern(q.args.Get("name"))
	}
	if f.byURI {
		f.uri = f.pattern(q.args.Get("uri"))
	}
	if q.args.Has("filter") {
		f.fields = map[string]string{}
		values, _ := url.ParseQuery(q.args.Get("filter")) // what parses counts
		for name, v := range values {
			if q.kind.filters && (name == "service_id" || name == "upstream_id") {
				f.fields[name] = v[len(v)-1]
			}
		}
	}
	return f
}

func (f *filter) pattern(text string) *regexp.Regexp {
	re, err := regexp.Compile(text)
	f.never = f.never || err != nil
	return re
}

func (f *filter) drops(it item) bool {
	if f.never {
		return true
	}
	if f.byName {
		name, ok := it.Value["name"].(string)
		if !ok {
			name = "nil" // as APISIX has it
		}
		if !f.name.MatchString(name) {
			return true
		}
	}
	if f.byLabel {
		labels, _ := it.Value["labels"].(object)
		if _, ok := labels[f.label]; !ok {
			return true
		}
	}
	if f.byURI && !f.matchesURI(it.Value) {
		return true
	}
	for name, want := range f.fields {
		if got, ok := it.Value[name].(string); !ok || got != want {
			return true
		}
	}
	return false
}

func (f *filter) matchesURI(value object) bool {
	if uri, ok := value["uri"].(string); ok && f.uri.MatchString(uri) {
		return true
	}
	uris, _ := value["uris"].([]any)
	return slices.ContainsFunc(uris, func(v any) bool {
		uri, ok := v.(string)
		return ok && f.uri.MatchString(uri)
	})
}

// page cuts the list to the page asked for, if both arguments are numbers.
func page(items []item, args url.Values) ([]item, *answer) {
	number, err1 := strconv.ParseFloat(args.Get("page"), 64)
	size, err2 := strconv.ParseFloat(args.Get("page_size"), 64)
	if err1 != nil || err2 != nil {
		return items, nil
	}
	if !(size >= 10 && size <= 500) {
		return nil, &answer{http.StatusBadRequest, "page_size must be between 10 and 500"}
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(a.Created, b.Created) })
	per := int(size)
	from := len(items)
	if !(number >= 1) {
		number = 1
	}
	if n := float64(len(items)/per + 1); number <= n {
		from = min(from, (int(number)-1)*per)
	}
	return items[from:min(from+per, len(items))], nil
}
