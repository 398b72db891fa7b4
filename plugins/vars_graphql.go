package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// graphQL is what routes ask about a GraphQL request: its first operation.
type graphQL struct {
	found     bool // false: not GraphQL, nothing has a value
	operation string
	name      string
	fields    []string // root fields, fragments resolved
}

// maxGraphQLTokens bounds the work of parsing one document.
const maxGraphQLTokens = 100_000

// operation parses the request as GraphQL on first use; what is wrong with it
// is logged then.
func (c *Ctx) operation() *graphQL {
	if c.memo.graphql == nil {
		g, err := readGraphQL(c)
		if err != nil {
			c.Log().Error(err.Error())
			g = &graphQL{}
		}
		c.memo.graphql = g
	}
	return c.memo.graphql
}

func findGraphQL(c *Ctx, rest string) (string, bool) {
	switch rest {
	case "operation":
		g := c.operation()
		return g.operation, g.operation != ""
	case "name":
		g := c.operation()
		return g.name, g.found
	case "root_fields":
		g := c.operation()
		return strings.Join(g.fields, ","), g.found
	}
	return "", false
}

func readGraphQL(c *Ctx) (*graphQL, error) {
	text, err := graphQLText(c)
	if err != nil {
		return nil, err
	}
	if limit := c.limits.graphQL(); limit > 0 && int64(len(text)) > limit {
		return nil, fmt.Errorf("failed to read graphql data, %w", &BodyTooLargeError{Size: int64(len(text)), Limit: limit})
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxGraphQLTokens)
	if err != nil {
		return nil, fmt.Errorf("failed to parse graphql: %w body: %s", err, text)
	}
	if len(doc.Operations) == 0 && len(doc.Fragments) == 0 {
		return nil, errors.New("empty graphql: " + text)
	}
	if len(doc.Operations)+len(doc.Fragments) > 1 {
		c.Log().Warn("Multiple operations are not supported.Only the first one is handled")
	}
	return firstDefinition(doc), nil
}

// graphQLText is the document: the query argument of a GET, the body of a POST.
func graphQLText(c *Ctx) (string, error) {
	switch c.Req.Method {
	case "GET":
		v, ok := c.Arg("query")
		if !ok {
			return "", errors.New("failed to read graphql data, args[query] is nil")
		}
		return v, nil
	case "POST":
	default:
		return "", fmt.Errorf("graphql not support `%s` request", c.Req.Method)
	}
	b, err := c.Body(c.limits.graphQL())
	if err != nil {
		return "", fmt.Errorf("failed to read graphql data, %w", err)
	}
	if len(b) == 0 {
		return "", errors.New("failed to read graphql data, request body has zero size")
	}
	if c.Req.Header.Get("Content-Type") != typeJSON {
		return string(b), nil
	}
	var v map[string]json.RawMessage
	if err := json.Unmarshal(b, &v); err != nil {
		return "", fmt.Errorf("failed to read graphql data, %w", err)
	}
	raw, ok := v["query"]
	if !ok || string(raw) == "null" {
		return "", errors.New("failed to read graphql data, json body[query] is nil")
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("failed to read graphql data, %w", err)
	}
	return text, nil
}

// firstDefinition describes the operation or fragment that comes first.
func firstDefinition(doc *ast.QueryDocument) *graphQL {
	g := &graphQL{found: true}
	var set ast.SelectionSet
	if len(doc.Operations) > 0 {
		op := doc.Operations[0]
		g.operation, g.name, set = string(op.Operation), op.Name, op.SelectionSet
	}
	if len(doc.Fragments) > 0 && (len(doc.Operations) == 0 ||
		doc.Fragments[0].Position.Start < doc.Operations[0].Position.Start) {
		f := doc.Fragments[0]
		g.operation, g.name, set = "", f.Name, f.SelectionSet
	}
	seen := map[string]bool{}
	g.fields = rootFields(nil, set, doc, seen)
	return g
}

// rootFields lists the fields of a selection, those inside fragments too, so
// that nobody hides a field in one. Each fragment is entered once.
func rootFields(to []string, set ast.SelectionSet, doc *ast.QueryDocument, seen map[string]bool) []string {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			to = append(to, s.Name)
		case *ast.InlineFragment:
			to = rootFields(to, s.SelectionSet, doc, seen)
		case *ast.FragmentSpread:
			if seen[s.Name] {
				continue
			}
			seen[s.Name] = true
			if f := doc.Fragments.ForName(s.Name); f != nil {
				to = rootFields(to, f.SelectionSet, doc, seen)
			}
		}
	}
	return to
}
