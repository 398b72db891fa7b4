// Package configcenter holds the contracts of the configuration walk: a Source
// sends changes, a Snapshot is one immutable version of everything, a Store is
// where the Admin API writes. It does not know what a route does, nor where
// the data lies; the sub-packages (etcd, yaml, memory, embedded) do.
package configcenter

import (
	"context"
	"encoding/json"
	"errors"
	"iter"

	"sluice/configcenter/resource"
)

// Change is one object as it is after a store revision.
type Change struct {
	Kind resource.Kind
	ID   string
	// Value is the JSON text as stored; nil means deleted.
	Value json.RawMessage
	// Create and Mod are the revisions at which the key was made and last changed
	// (createdIndex and modifiedIndex of the Admin API).
	Create, Mod int64
}

// Batch is what happened in one or more store revisions, coalesced.
type Batch struct {
	Rev     int64 // the revision this batch brings the reader to
	Full    bool  // Changes is everything: what is not in it does not exist
	Changes []Change
}

// Source sends configuration. The first batch is full; after a lost connection
// the source reconnects by itself, yields the error, and goes on with what it
// missed, or with a full batch. The sequence ends when ctx does.
type Source interface {
	Watch(ctx context.Context) iter.Seq2[Batch, error]
}

// ErrConflict is returned by Put when the stored revision is not the expected one.
var ErrConflict = errors.New("value changed before overwritten")

// ErrNotFound is returned by Get and Delete for a key that does not exist.
var ErrNotFound = errors.New("key not found")

// PutOptions are the conditions and extras of a Put.
type PutOptions struct {
	Rev int64 // expected modification revision; 0 means any
	TTL int64 // seconds until the key goes by itself; 0 means never
}

// Store is where the Admin API writes. Implementations are safe for concurrent use.
type Store interface {
	// Get returns one object; ErrNotFound if there is none.
	Get(ctx context.Context, k resource.Kind, id string) (Change, error)
	// List returns all objects of a kind in key order.
	List(ctx context.Context, k resource.Kind) ([]Change, error)
	// Put stores value and returns it with its revisions. A conflicting
	// PutOptions.Rev gives ErrConflict and changes nothing.
	Put(ctx context.Context, k resource.Kind, id string, value []byte, o PutOptions) (Change, error)
	// Delete removes the object; ErrNotFound if there is none.
	Delete(ctx context.Context, k resource.Kind, id string) error
	// NextID returns a number no earlier call on this store returned (the
	// revision of a bump of the key gen_id), for POST.
	NextID(ctx context.Context) (int64, error)
	// Prefix is what stands before "/routes/1" in an object's key ("/apisix").
	Prefix() string
}

// Problem is an object that could not be used: undecodable, invalid, or not compilable.
// The last good form of it, if any, stays in force.
type Problem struct {
	resource.Ref
	Rev int64
	Err error
}
