package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestThreeNodes breaks one of three etcds at a time; the gateways must follow
// the others while it is broken.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	all := nodes(t, 3)
	all[0].start()
	all[1].start() // the third is down
	s := openStore(t, nil, all[:2]...)
	s.client.SetEndpoints(all[0].client, all[1].client, all[2].client)
	s.seed(upstream(t))
	var endpoints []string
	for _, e := range all {
		endpoints = append(endpoints, "http://"+e.near.addr())
	}
	f := newFleet(t, s, newGateway(t, "one", endpoints, "", ""), newGateway(t, "two", endpoints, "", ""), newGateway(t, "three", endpoints, "", ""))
	b := &threeNodes{t, all, s, f}
	f.fault("one of three nodes down at start", b.started)
	f.fault("leader killed", b.killed)
	f.fault("minority partitioned", b.partitioned)
	f.memory()
}

type threeNodes struct {
	t   *testing.T
	all []*node
	s   *store
	f   *fleet
}

func (b *threeNodes) started() int64 {
	w := b.s.write(100)
	last(either(time.Second, 5*time.Second))
	b.all[2].start()
	last(either(time.Second, 5*time.Second))
	return w.end()
}

// leader is the place of the leader, and its member id.
func (b *threeNodes) leader() (int, uint64) {
	place, id := 0, uint64(0)
	eventually(b.t, "a leader", func() error {
		for i, e := range b.all {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			st, err := b.s.client.Status(ctx, e.client)
			cancel()
			if err == nil && st.Leader != 0 && st.Header.MemberId == st.Leader {
				place, id = i, st.Leader
				return nil
			}
		}
		return errNot
	})
	return place, id
}

func (b *threeNodes) killed() int64 {
	i, _ := b.leader()
	w := b.s.write(100)
	b.all[i].p.kill()
	last(either(time.Second, 20*time.Second))
	n := w.end()
	b.s.mustPut("without it")
	b.f.converge("without the leader")
	b.all[i].start()
	return n + 1
}

// partitioned: a node that clients still reach has lost the others. It goes on
// answering, but what it answers stands still.
func (b *threeNodes) partitioned() int64 {
	i, id := b.leader()
	alone := b.all[i]
	alone.peer.cut()
	for _, e := range b.all {
		if e != alone {
			e.peer.exclude(fmt.Sprintf("X-Server-From: %x\r\n", id))
		}
	}
	rest := b.all[(i+1)%3]
	eventually(b.t, "another leader", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		st, err := b.s.client.Status(ctx, rest.client)
		if err == nil && (st.Leader == 0 || st.Leader == id) {
			err = errNot
		}
		return err
	})
	b.s.client.SetEndpoints(rest.client, b.all[(i+2)%3].client)
	w := b.s.write(100)
	last(either(time.Second, 20*time.Second))
	n := w.end()
	b.s.mustPut("without it")
	b.f.converge("without the minority")
	for _, e := range b.all {
		e.peer.mend()
	}
	b.s.client.SetEndpoints(b.all[0].client, b.all[1].client, b.all[2].client)
	return n + 1
}
