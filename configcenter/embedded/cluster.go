package embedded

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// Files are a certificate, its key, and the authority that the other side's
// certificate must come from; all empty: no TLS. They are read anew for each
// connection.
type Files struct{ Cert, Key, CA string }

func (f Files) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA, ClientCertAuth: f.CA != ""}
}

// Cluster is what a member of a cluster must know.
type Cluster struct {
	Name       string            // of this member
	PeerListen string            // host:port for the other members
	Members    map[string]string // name → peer URL, this one's too
	// Joining: the cluster exists, and this member was added to it. Only looked
	// at while there is no data.
	Joining bool
	TLS     Files // between members
}

// alone is the name of the only member.
const alone = "sluice"

// members is the list of members in etcd's form, and this one's name and URL.
func (l *Cluster) members() (list, name, peer string) {
	if l == nil {
		return alone + "=" + peerURL, alone, peerURL
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(l.Members)) {
		all = append(all, name+"="+l.Members[name])
	}
	return strings.Join(all, ","), l.Name, l.Members[l.Name]
}

// set brings the cluster into etcd's configuration, which has the client URL.
func (l *Cluster) set(cfg *embed.Config) error {
	list, name, text := l.members()
	peer, err := url.Parse(text)
	if err != nil || text == "" {
		return fmt.Errorf("embedded etcd: member %q has no peer URL: %q", name, text)
	}
	cfg.Name, cfg.InitialCluster = name, list
	cfg.AdvertisePeerUrls, cfg.ListenPeerUrls = []url.URL{*peer}, []url.URL{*peer}
	if l == nil {
		return nil
	}
	cfg.ListenPeerUrls = []url.URL{{Scheme: peer.Scheme, Host: l.PeerListen}}
	cfg.PeerTLSInfo = l.TLS.info()
	if l.Joining {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	// A member that was cut off must not disturb a working cluster when it is back.
	cfg.PreVote, cfg.StrictReconfigCheck = true, true
	client := cfg.ListenClientUrls[0]
	if ip := net.ParseIP(client.Hostname()); ip != nil && ip.IsUnspecified() {
		client.Host = net.JoinHostPort(peer.Hostname(), client.Port())
		cfg.AdvertiseClientUrls = []url.URL{client}
	}
	return nil
}

// Member is one member of the cluster as it knows it.
type Member struct {
	ID      uint64
	Name    string // "" until it was started for the first time
	Peer    []string
	Leader  bool
	Learner bool
}

// Members lists the members by name.
func Members(ctx context.Context, c *clientv3.Client) ([]Member, error) {
	r, err := c.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	s, err := c.Status(ctx, c.Endpoints()[0])
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	var out []Member
	for _, m := range r.Members {
		out = append(out, Member{ID: m.ID, Name: m.Name, Peer: m.PeerURLs, Leader: m.ID == s.Leader, Learner: m.IsLearner})
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// AddMember makes room for a new member, which is then started with Joining.
func AddMember(ctx context.Context, c *clientv3.Client, peer string) error {
	_, err := c.MemberAdd(ctx, []string{peer})
	if err != nil {
		return fmt.Errorf("add member %s: %w", peer, err)
	}
	return nil
}

// RemoveMember takes a member out by its name, or by its peer URL when it was
// never started.
func RemoveMember(ctx context.Context, c *clientv3.Client, name string) error {
	all, err := Members(ctx, c)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Name == name || m.Name == "" && slices.Contains(m.Peer, name) {
			if _, err := c.MemberRemove(ctx, m.ID); err != nil {
				return fmt.Errorf("remove member %s: %w", name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("remove member %s: there is no such member", name)
}
