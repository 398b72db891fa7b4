package plugins

import (
	"encoding/json"
	"errors"
	"fmt"

	exact "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/go-json-experiment/json/v1"
)

// reading is how encoding/json reads, but for two things. A member counts under
// its own name only: "WHITELIST" is not the whitelist that the schema checked
// and that somebody who looks over the configuration saw. And numbers in
// interface values are json.Number.
var reading = exact.JoinOptions(v1.DefaultOptionsV1(), exact.MatchCaseInsensitiveNames(false),
	exact.WithUnmarshalers(exact.JoinUnmarshalers(
		exact.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
			if d.PeekKind() != '0' {
				return errors.ErrUnsupported // as usual
			}
			n, err := d.ReadValue()
			*v = json.Number(n)
			return err
		}),
		exact.UnmarshalFromFunc(func(d *jsontext.Decoder, v *json.Number) error {
			if d.PeekKind() != '0' {
				return errors.ErrUnsupported
			}
			n, err := d.ReadValue()
			*v = json.Number(n)
			return err
		}))))

// Decode reads a configuration that passed its schema. Numbers in interface
// values are json.Number.
func Decode(conf json.RawMessage, to any) error {
	if len(conf) == 0 {
		return nil
	}
	if err := exact.Unmarshal(conf, to, reading); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}
