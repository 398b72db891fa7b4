package responserewrite

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"

	"sluice/plugins"
)

// progress is how far the body of one response is.
type progress struct {
	encoding string // Content-Encoding as it came
	held     []byte
	done     bool // the new body is out: what still comes is dropped
}

func (r *rewriter) bodyFilter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	p, _ := c.Value(r).(*progress)
	switch {
	case p == nil: // the condition did not hold
		return piece, nil
	case p.done:
		return nil, nil
	case r.replacements == nil:
		p.done = true
		return r.body, nil
	}
	p.held = append(p.held, piece[:min(len(piece), r.limit-len(p.held))]...)
	if !last && len(p.held) < r.limit {
		return nil, nil
	}
	p.done = true
	return r.replace(c, p), nil
}

// replace does the replacements; a body that cannot be decoded stays as it is.
func (r *rewriter) replace(c *plugins.Ctx, p *progress) []byte {
	plain, err := decode(p.held, p.encoding, r.limit)
	if err != nil {
		c.Log().Error("filters may not work as expected", "err", err)
		return p.held
	}
	text := string(plain)
	for i := range r.replacements {
		if one := &r.replacements[i]; one.all {
			text, _ = one.with.ReplaceAll(text)
		} else {
			text, _ = one.with.Replace(text)
		}
	}
	return []byte(text)
}

// decode undoes a content encoding; what decodes to more than limit is cut.
func decode(b []byte, encoding string, limit int) ([]byte, error) {
	var src io.Reader
	switch encoding {
	case "":
		return b, nil
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("inflate gzip err: %w", err)
		}
		src = z
	case "br":
		src = brotli.NewReader(bytes.NewReader(b))
	default:
		return nil, fmt.Errorf("unsupported compression encoding type: %s", encoding)
	}
	plain, err := io.ReadAll(io.LimitReader(src, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", encoding, err)
	}
	return plain, nil
}
