package relay

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

type cache struct{ r *Relay }

func newCache(r *Relay) *cache { return &cache{r} }
func (c *cache) sweep()        {}

func (r *Relay) getRange(in grpc.ServerStream) error {
	q := new(pb.RangeRequest)
	if err := in.RecvMsg(q); err != nil {
		return err
	}
	n := &names{prefix: r.cfg.Namespace}
	if r.cfg.Namespace != "" {
		if err := n.read(q); err != nil {
			return err
		}
		a := new(pb.RangeResponse)
		if err := r.call(in.Context(), pb.KV_Range_FullMethodName, q, a); err != nil {
			return err
		}
		n.rangeOut(a)
		return in.SendMsg(a)
	}
	a := new(frame)
	if err := r.call(in.Context(), pb.KV_Range_FullMethodName, q, a); err != nil {
		return err
	}
	return in.SendMsg(a)
}
