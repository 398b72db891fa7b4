package adapter

import (
	"testing"

	"sluice/configcenter/adapter/auth"
	"sluice/configcenter/adapter/mvcc"
)

// noted is a view of a store in which the rules are.
type noted struct {
	mvcc.Tx
	text []byte
}

func (n noted) State() mvcc.State           { return mvcc.State{Notes: 1} }
func (n noted) Note(string) ([]byte, error) { return n.text, nil }

// Rules that were seen in an update that was then taken back are not those of
// the next update, which the store counts alike.
func TestRulesTakenBack(t *testing.T) {
	s := &Server{}
	for _, name := range []string{"taken-back", "kept"} {
		r := auth.New()
		if err := r.AddUser(name, nil, nil); err != nil {
			t.Fatal(err)
		}
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := s.rules(noted{text: text})
			if err != nil || len(got.Users) != 1 || got.Users[name] == nil {
				t.Errorf("the users are %v, %v, want %s", got.UserNames(), err, name)
			}
		}
	}
}
