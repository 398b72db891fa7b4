package redisx

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Redis are the members of a plugin's configuration that say how to reach a
// single Redis or a cluster. Their defaults and ranges are in the schemas. The
// keepalive members are accepted and not needed: connections are shared by all
// requests, and kept.
type Redis struct {
	Host             string   `json:"redis_host"`
	Port             int      `json:"redis_port"`
	Username         string   `json:"redis_username"`
	Password         string   `json:"redis_password"`
	Database         int      `json:"redis_database"`
	Timeout          int      `json:"redis_timeout"` // ms
	TLS              bool     `json:"redis_ssl"`
	TLSVerify        bool     `json:"redis_ssl_verify"`
	KeepaliveTimeout int      `json:"redis_keepalive_timeout"` // ms
	KeepalivePool    int      `json:"redis_keepalive_pool"`
	ClusterName      string   `json:"redis_cluster_name"`
	ClusterNodes     []string `json:"redis_cluster_nodes"`
	ClusterTLS       bool     `json:"redis_cluster_ssl"`
	ClusterTLSVerify bool     `json:"redis_cluster_ssl_verify"`
}

// Conf is Redis for plugins that know sentinels, too.
type Conf struct {
	Redis
	Sentinels        []Sentinel `json:"redis_sentinels"`
	MasterName       string     `json:"redis_master_name"`
	Role             string     `json:"redis_role"`
	ConnectTimeout   int        `json:"redis_connect_timeout"` // ms
	ReadTimeout      int        `json:"redis_read_timeout"`    // ms
	SentinelUsername string     `json:"sentinel_username"`
	SentinelPassword string     `json:"sentinel_password"`
}

// Sentinel is the address of a Redis sentinel.
type Sentinel struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// The policies of the plugins.
const (
	Single  = "redis"
	Cluster = "redis-cluster"
	Guarded = "redis-sentinel"
)

const (
	buffer = 32 << 10 // bytes for each direction of a connection
	ring   = 9        // 2^9 commands in flight on a connection
	// refresh is how often the sentinels are asked, should an announcement of
	// theirs have been lost.
	refresh = 5 * time.Second
)

// key names the client of c: two configurations share one when nothing differs
// that a server could tell, and it does not give away what it was made of.
func (c *Conf) key(policy string) string {
	text, _ := json.Marshal(c) // plain fields always encode
	sum := sha256.Sum256(append([]byte(policy+"\x00"), text...))
	return "redis/" + hex.EncodeToString(sum[:])
}

// option is c as the library wants it.
func (c *Conf) option(policy string) (rueidis.ClientOption, error) {
	o := rueidis.ClientOption{
		Password: c.Password, Username: c.Username, SelectDB: c.Database,
		ClientSetInfo: rueidis.DisableClientSetInfo, DisableCache: true, AlwaysRESP2: true,
		// A reader of its own on each connection notices at once that the server has gone.
		AlwaysPipelining:   true,
		ReadBufferEachConn: buffer, WriteBufferEachConn: buffer, RingScaleEachConn: ring,
	}
	connect, answer := c.Timeout, c.Timeout
	switch policy {
	case Single:
		o.ForceSingleClient = true
		o.InitAddress = []string{net.JoinHostPort(c.Host, strconv.Itoa(orInt(c.Port, 6379)))}
		o.TLSConfig = secure(c.TLS, c.TLSVerify)
	case Cluster:
		o.Username, o.SelectDB = "", 0
		o.InitAddress = append(o.InitAddress, c.ClusterNodes...)
		for _, node := range c.ClusterNodes {
			if _, _, err := net.SplitHostPort(node); err != nil {
				return o, fmt.Errorf("redis_cluster_nodes %q: want host:port", node)
			}
		}
		o.TLSConfig = secure(c.ClusterTLS, c.ClusterTLSVerify)
	case Guarded:
		for _, s := range c.Sentinels {
			o.InitAddress = append(o.InitAddress, net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
		}
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: c.MasterName, Username: c.SentinelUsername, Password: c.SentinelPassword,
			TopologyRefreshInterval: refresh,
		}
		o.ReplicaOnly = c.Role == "slave"
		connect, answer = c.ConnectTimeout, c.ReadTimeout
	default:
		return o, fmt.Errorf("policy %q: not one of Redis", policy)
	}
	o.Dialer.Timeout = milliseconds(connect)
	o.Sentinel.Dialer.Timeout = o.Dialer.Timeout
	o.ConnWriteTimeout = milliseconds(answer)
	return o, nil
}

func secure(on, verify bool) *tls.Config {
	if !on {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !verify}
}

func milliseconds(n int) time.Duration { return time.Duration(orInt(n, 1000)) * time.Millisecond }

func orInt(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
