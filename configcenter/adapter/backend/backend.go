// Package backend opens the store that a name such as sqlite://PATH stands for.
// It does not know what is kept there, nor who asks.
package backend

import (
	"fmt"
	"strings"

	"sluice/configcenter/adapter/memory"
	"sluice/configcenter/adapter/mvcc"
)

// Forms is what a name may be, for messages and help.
const Forms = "memory, memory:PATH"

// Open opens a store, and makes it if it is not there. The caller closes it.
// Errors do not have the name, in which there may be a password.
func Open(name string) (mvcc.Backend, error) {
	if name == "memory" {
		return memory.New(), nil
	}
	if path, ok := strings.CutPrefix(name, "memory:"); ok && path != "" {
		return memory.Open(path)
	}
	return nil, fmt.Errorf("the store is not one of %s", Forms)
}
