// Package counter counts what keys use up in windows of time, for the plugins
// that limit by quota, and holds what these plugins have in common: rules,
// quota headers, rejections (Limiter).
//
// It does not know what is counted.
package counter

import (
	"context"
	"time"
)

// Quota is how much a key may use.
type Quota struct {
	Limit  int64         // per window, > 0
	Window time.Duration // > 0
	// Sliding weighs in the window before, by how much of it a window of that
	// length ending now still covers. Otherwise a window is fixed: it begins
	// with the first use.
	Sliding bool
}

// State is where a key stands after a use.
type State struct {
	Rejected bool  // the use does not fit into the quota
	Left     int64 // what is left; meaningless when rejected
	// Reset is the time until the window ends; for a rejection by a sliding
	// window the time until a use may fit again.
	Reset time.Duration
}

// Store counts. Implementations are safe for concurrent use.
type Store interface {
	// Take uses up cost of key's quota. A fixed window counts rejected uses,
	// too; a sliding one does not. key is not kept.
	Take(ctx context.Context, key []byte, q Quota, cost int64) (State, error)
}

// Take is one of several uses.
type Take struct {
	Key   []byte
	Quota Quota
	Cost  int64
	State State // set by TakeAll
}

// Several is a Store that can take from several keys at once.
type Several interface {
	// TakeAll takes in order, until something is rejected: what comes behind that
	// is not counted, and its State not set. All quotas slide, or none does.
	TakeAll(ctx context.Context, takes []Take) error
}

// takeEach is TakeAll of a Store that cannot.
func takeEach(ctx context.Context, s Store, takes []Take) (err error) {
	for i := range takes {
		t := &takes[i]
		if t.State, err = s.Take(ctx, t.Key, t.Quota, t.Cost); err != nil || t.State.Rejected {
			return err
		}
	}
	return nil
}
