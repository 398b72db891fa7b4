// Package backend opens the store that a name such as sqlite://PATH stands for.
// It does not know what is kept there, nor who asks.
package backend

import (
	"context"
	"fmt"
	"strings"

	"sluice/configcenter/adapter/memory"
	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/adapter/mysql"
	"sluice/configcenter/adapter/postgres"
	"sluice/configcenter/adapter/sqlite"
)

// Forms is what a name may be, for messages and help.
const Forms = "memory, memory:PATH, sqlite://PATH, postgres://USER:PASSWORD@HOST/DATABASE, mysql://USER:PASSWORD@HOST/DATABASE"

// Remote says whether the named store is a server's, which may be away.
func Remote(name string) bool {
	kind, _, _ := strings.Cut(name, ":")
	return kind != "memory" && kind != "sqlite"
}

// Open opens a store, and makes it if it is not there. The caller closes it.
// Errors do not have the name, in which there may be a password.
func Open(ctx context.Context, name string) (mvcc.Backend, error) {
	kind, rest, _ := strings.Cut(name, ":")
	path, slashes := strings.CutPrefix(rest, "//")
	switch {
	case name == "memory":
		return memory.New(), nil
	case kind == "memory" && rest != "":
		return memory.Open(rest)
	case kind == "sqlite" && slashes && path != "":
		return sqlite.Open(ctx, path)
	case (kind == "postgres" || kind == "postgresql") && slashes:
		return postgres.Open(ctx, name)
	case kind == "mysql" && slashes:
		return mysql.Open(ctx, path)
	}
	return nil, fmt.Errorf("the store is not one of %s", Forms)
}
