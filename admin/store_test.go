package admin

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// fakeStore is a Store in memory that can be told to fail.
type fakeStore struct {
	mu   sync.Mutex
	rev  int64
	data map[resource.Kind]map[string]configcenter.Change
	down error
	ttl  int64
	// before runs ahead of each Put, outside the lock.
	before func()
}

func (s *fakeStore) Prefix() string { return "/apisix" }

func (s *fakeStore) Get(_ context.Context, k resource.Kind, id string) (configcenter.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return configcenter.Change{}, s.down
	}
	ch, ok := s.data[k][id]
	if !ok {
		return ch, configcenter.ErrNotFound
	}
	return ch, nil
}

func (s *fakeStore) List(_ context.Context, k resource.Kind) ([]configcenter.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []configcenter.Change
	for _, id := range slices.Sorted(maps.Keys(s.data[k])) {
		list = append(list, s.data[k][id])
	}
	return list, s.down
}

func (s *fakeStore) Put(_ context.Context, k resource.Kind, id string, value []byte, o configcenter.PutOptions) (configcenter.Change, error) {
	if s.before != nil {
		s.before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return configcenter.Change{}, s.down
	}
	old, had := s.data[k][id]
	if o.Rev != 0 && old.Mod != o.Rev {
		return configcenter.Change{}, configcenter.ErrConflict
	}
	s.rev++
	s.ttl = o.TTL
	ch := configcenter.Change{Kind: k, ID: id, Value: slices.Clone(value), Create: s.rev, Mod: s.rev}
	if had {
		ch.Create = old.Create
	}
	if s.data == nil {
		s.data = map[resource.Kind]map[string]configcenter.Change{}
	}
	if s.data[k] == nil {
		s.data[k] = map[string]configcenter.Change{}
	}
	s.data[k][id] = ch
	return ch, nil
}

func (s *fakeStore) Delete(_ context.Context, k resource.Kind, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return s.down
	}
	if _, ok := s.data[k][id]; !ok {
		return configcenter.ErrNotFound
	}
	s.rev++
	delete(s.data[k], id)
	return nil
}

func (s *fakeStore) NextID(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	return s.rev, s.down
}

var errDown = errors.New("has no healthy etcd endpoint available")

type change = configcenter.Change
