package adapter_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"sluice/configcenter/adapter/backendtest"
)

// action is something done to one key: a get, a put, a delete, or a put if the
// value is the one that was seen before.
type action struct {
	do, key, value, seen string
}

// outcome is what came of it.
type outcome struct {
	value   string // before it; of a get: now
	done    bool   // of a conditional put: whether the value was the seen one
	rev     int64  // of the answer
	changed bool   // rev is the action's own
}

// register is a key of which gets see the newest value.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(action).key
			byKey[k] = append(byKey[k], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range byKey {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		a, o, now := input.(action), output.(outcome), state.(string)
		switch a.do {
		case "get":
			return o.value == now, now
		case "put":
			return o.value == now, a.value
		case "delete":
			return o.value == now, ""
		}
		if o.done != (now == a.seen) {
			return false, now
		}
		if o.done {
			return true, a.value
		}
		return o.value == now, now
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// What several clients see at the same time is what they could have seen one
// after the other. Stores that can be shared have two servers.
func TestLinear(t *testing.T) {
	const clients, actions = 6, 60
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			url := kind.URL(t)
			sides := []*side{dial(t, serve(t, backendtest.Open(t, url)))}
			if kind.Shared {
				sides = append(sides, dial(t, serve(t, backendtest.Open(t, url))))
			}
			s := cmp.Or(*seed, uint64(time.Now().UnixNano()))
			t.Logf("-seed=%d", s)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var mu sync.Mutex
			var history []porcupine.Operation
			var all sync.WaitGroup
			start := time.Now()
			for i := range clients {
				all.Go(func() {
					random := rand.New(rand.NewPCG(s, uint64(i)))
					seen := map[string]string{}
					for n := range actions {
						a := someAction(random, fmt.Sprintf("%d.%d", i, n), seen)
						call := time.Since(start)
						o, err := sides[i%len(sides)].act(ctx, a)
						end := time.Since(start)
						if err != nil {
							t.Error(err)
							return
						}
						seen[a.key] = o.value
						mu.Lock()
						history = append(history, porcupine.Operation{ClientId: i, Input: a, Call: int64(call), Output: o, Return: int64(end)})
						mu.Unlock()
					}
				})
			}
			all.Wait()
			if r, _ := porcupine.CheckOperationsVerbose(register, history, 30*time.Second); r != porcupine.Ok {
				t.Errorf("the history is not linear: %v", r)
			}
			checkRevisions(t, history)
		})
	}
}

func someAction(random *rand.Rand, value string, seen map[string]string) action {
	a := action{key: string(rune('a' + random.IntN(3))), value: value}
	switch n := random.IntN(10); {
	case n < 3:
		a.do = "get"
	case n < 5:
		a.do = "put"
	case n < 6:
		a.do = "delete"
	default:
		a.do, a.seen = "swap", seen[a.key]
	}
	return a
}

// act carries out an action.
func (s *side) act(ctx context.Context, a action) (outcome, error) {
	key := []byte(a.key)
	switch a.do {
	case "get":
		r, err := s.Range(ctx, &pb.RangeRequest{Key: key})
		return outcome{value: one(r.GetKvs()), rev: r.GetHeader().GetRevision()}, err
	case "put":
		r, err := s.Put(ctx, &pb.PutRequest{Key: key, Value: []byte(a.value), PrevKv: true})
		return outcome{value: string(r.GetPrevKv().GetValue()), rev: r.GetHeader().GetRevision(), changed: true}, err
	case "delete":
		r, err := s.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key, PrevKv: true})
		return outcome{value: one(r.GetPrevKvs()), rev: r.GetHeader().GetRevision(), changed: r.GetDeleted() > 0}, err
	}
	c := &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(a.seen)}}
	if a.seen == "" {
		c.Target, c.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{}
	}
	r, err := s.Txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{c},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(a.value)}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}}})
	if err != nil {
		return outcome{}, err
	}
	o := outcome{done: r.Succeeded, changed: r.Succeeded, rev: r.Header.Revision, value: a.value}
	if !r.Succeeded {
		o.value = one(r.Responses[0].GetResponseRange().GetKvs())
	}
	return o, nil
}

func one(kvs []*mvccpb.KeyValue) string {
	if len(kvs) == 0 {
		return ""
	}
	return string(kvs[0].Value)
}

// checkRevisions sees that each change has a revision of its own, that there is
// none between, and that no answer is older than one that came before it began.
func checkRevisions(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	var revs []int64
	for _, o := range history {
		if r := o.Output.(outcome); r.changed {
			revs = append(revs, r.rev)
		}
	}
	slices.Sort(revs)
	for i, r := range revs {
		if r != int64(i)+2 {
			t.Fatalf("change %d has the revision %d", i, r)
		}
	}
	ended := slices.SortedFunc(slices.Values(history), func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	begun := slices.SortedFunc(slices.Values(history), func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var known int64
	for _, o := range begun {
		for len(ended) > 0 && ended[0].Return < o.Call {
			known = max(known, ended[0].Output.(outcome).rev)
			ended = ended[1:]
		}
		if r := o.Output.(outcome); r.rev < known || r.changed && r.rev == known {
			t.Fatalf("%+v has the revision %d after an answer of revision %d", o.Input, r.rev, known)
		}
	}
}
