package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"

	"sluice/gateway/jsonpath"
)

// Limits bound what variables read of request bodies, in bytes. 0 stands for
// the default, a negative number for no limit.
type Limits struct {
	PostArgs int64 // post_arg.*; 64 MiB
	GraphQL  int64 // graphql_*; 1 MiB
}

// SetLimits replaces the default limits. They outlive Reset; l is not changed.
func (c *Ctx) SetLimits(l *Limits) { c.limits = l }

func (l *Limits) postArgs() int64 {
	if l == nil || l.PostArgs == 0 {
		return 64 << 20
	}
	return max(l.PostArgs, 0)
}

func (l *Limits) graphQL() int64 {
	if l == nil || l.GraphQL == 0 {
		return 1 << 20
	}
	return max(l.GraphQL, 0)
}

const (
	postArgPath = "post_arg."

	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
	typePart = "multipart/form-data"
)

// bodyTable is a request body read as data: what JSON, a form or the parts of
// a multipart form say. It is made once for each body.
type bodyTable struct {
	form  *string // the body as text, for post_arg_*
	read  bool    // root and err are set
	root  any
	err   error
	limit int64
}

// data is the request's table; SetBody throws it away.
func (c *Ctx) data() *bodyTable {
	if c.memo.body == nil {
		c.memo.body = &bodyTable{limit: c.limits.postArgs()}
	}
	return c.memo.body
}

// findFormArg is post_arg_<name>: forms only, the first value.
func findFormArg(c *Ctx, name string) (string, bool) {
	if !strings.HasPrefix(c.Req.Header.Get("Content-Type"), typeForm) {
		return "", false
	}
	t := c.data()
	if t.form == nil {
		b, err := c.Body(t.limit)
		if err != nil {
			c.Log().Error("the post form is too large", "err", err)
		}
		s := string(b)
		t.form = &s
	}
	return formValue(*t.form, name)
}

// bodyTable reads the body as its Content-Type says.
func (c *Ctx) bodyTable() (any, error) {
	t := c.data()
	if !t.read {
		t.read = true
		t.root, t.err = readTable(c, t.limit)
	}
	return t.root, t.err
}

func readTable(c *Ctx, limit int64) (any, error) {
	ct := c.Req.Header.Get("Content-Type")
	isJSON, isForm := strings.Contains(ct, typeJSON), strings.Contains(ct, typeForm)
	if !isJSON && !isForm && !strings.Contains(ct, typePart) {
		return nil, fmt.Errorf("unsupported content-type: %s, supported types are: %s, %s, %s",
			ct, typeJSON, typeForm, typePart)
	}
	b, err := c.Body(limit)
	if err != nil {
		return nil, fmt.Errorf("could not get body: %w", err)
	}
	switch {
	case isJSON:
		if len(b) == 0 {
			return nil, errors.New("could not get body: request body is empty")
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("could not parse JSON request body: %w", err)
		}
		return v, nil
	case isForm:
		return formTable(string(b)), nil
	}
	return partsTable(b, ct)
}

// formTable keeps the pairs of a form; a name that comes twice gets a list.
func formTable(s string) map[string]any {
	t := map[string]any{}
	for s != "" {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		key, val, has := strings.Cut(pair, "=")
		if key == "" {
			continue
		}
		var v any = Unescape(val)
		if !has {
			v = true
		}
		key = Unescape(key)
		switch old := t[key].(type) {
		case nil:
			t[key] = v
		case []any:
			t[key] = append(old, v)
		default:
			t[key] = []any{old, v}
		}
	}
	return t
}

// maxParts bounds what a multipart body of many small parts costs.
const maxParts = 1000

func partsTable(body []byte, contentType string) (any, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return nil, errors.New("failed to parse multipart form data")
	}
	t := map[string]any{}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for range maxParts {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("failed to parse multipart form data: %w", err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return nil, fmt.Errorf("failed to parse multipart form data: %w", err)
		}
		if name := p.FormName(); name != "" {
			t[name] = string(b)
		}
	}
	return nil, fmt.Errorf("failed to parse multipart form data: more than %d parts", maxParts)
}

// bodyPath is the part of a variable's name behind "post_arg.": names with dots
// between them, or a JSONPath when it has brackets, stars or "..".
type bodyPath struct {
	text  string
	names []string
	steps jsonpath.Path // JSONPath; nil for plain names
}

func parseBodyPath(text string) (bodyPath, error) {
	if strings.ContainsAny(text, "[*") || strings.Contains(text, "..") {
		dot := "."
		if text[0] == '.' || text[0] == '[' {
			dot = ""
		}
		steps, err := jsonpath.Parse("$" + dot + text)
		if err != nil {
			return bodyPath{}, fmt.Errorf("JSONPath %q: %w", text, err)
		}
		return bodyPath{text: text, steps: steps}, nil
	}
	return bodyPath{text: text, names: strings.Split(text, ".")}, nil
}

// find yields what the path leads to: one value for plain names, all results
// for a JSONPath. nil when there is nothing.
func (p *bodyPath) find(c *Ctx) any {
	if p.text == "" {
		return nil
	}
	root, err := c.bodyTable()
	if err != nil {
		c.Log().Warn("failed to fetch post args value by key: "+p.text, "err", err)
		return nil
	}
	if p.steps != nil {
		found := p.steps.Query(root)
		if len(found) == 0 {
			return nil
		}
		return found
	}
	for _, name := range p.names {
		m, ok := root.(map[string]any)
		if !ok {
			return nil
		}
		root = m[name]
	}
	return root
}

func findPostArg(c *Ctx, rest string) (string, bool) { return bindPostArg(rest)(c) }

func bindPostArg(rest string) Getter {
	p, err := parseBodyPath(rest)
	if err != nil {
		return absent
	}
	return func(c *Ctx) (string, bool) { return dataText(p.find(c)) }
}

// dataText is a value of a body as text: numbers in up to 14 digits, lists and
// objects as JSON. null is no value.
func dataText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return numberText(v.String()), true
	}
	b, err := json.Marshal(v)
	return string(b), err == nil
}

func numberText(s string) string {
	if !strings.ContainsAny(s, ".eE") && len(s) < 15 {
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	return strconv.FormatFloat(f, 'g', 14, 64)
}
