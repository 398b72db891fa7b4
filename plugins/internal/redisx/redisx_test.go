package redisx

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
	"sluice/plugins/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var echo = NewScript(`return {KEYS[1] and 7, ARGV[1]}`)

func open(t *testing.T, policy string, c Conf) *Client {
	t.Helper()
	client, release, err := Open(plugintest.Env(), policy, &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return client
}

func run(c *Client) (Result, error) {
	return c.Run(context.Background(), echo, Call{[]string{"k"}, []string{"2.5"}})
}

func TestRunAfterScriptsWereLost(t *testing.T) {
	port := redistest.Single(t)
	c := open(t, Single, Conf{Redis: Redis{Host: "127.0.0.1", Port: port, Timeout: 20000}})
	for range 3 {
		r, err := run(c)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := r.Int(0)
		f, _ := r.Float(1)
		if _, err := r.Int(2); n != 7 || f != 2.5 || err == nil {
			t.Errorf("%v %v %v", n, f, err)
		}
		redistest.Do(t, port, "SCRIPT", "FLUSH")
	}
	calls := []Call{{[]string{"a"}, []string{"1"}}, {[]string{"b"}, []string{"2"}}}
	c.RunAll(context.Background(), echo, calls, func(i int, r Result, err error) {
		if n, _ := r.Int(1); err != nil || n != int64(i+1) {
			t.Errorf("call %d: %v %v", i, n, err)
		}
	})
}

func TestErrorsKeepSecrets(t *testing.T) {
	port := redistest.Single(t, "--requirepass", "opensesame")
	for name, c := range map[string]struct {
		conf Redis
		want string
	}{
		"wrong password": {Redis{Password: "hunter2"}, "WRONGPASS"},
		"no password":    {Redis{}, "NOAUTH"},
		"database":       {Redis{Password: "opensesame", Database: 999}, "failed to change redis db, err: ERR DB index is out of range"},
		"right":          {Redis{Password: "opensesame"}, ""},
		"default user":   {Redis{Username: "default", Password: "opensesame", Database: 2}, ""},
	} {
		c.conf.Host, c.conf.Port, c.conf.Timeout = "127.0.0.1", port, 20000
		_, err := run(open(t, Single, Conf{Redis: c.conf}))
		switch {
		case c.want == "" && err != nil, c.want != "" && err == nil:
			t.Errorf("%s: %v", name, err)
		case err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := open(t, Single, Conf{Redis: Redis{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Timeout: 50}})
	start := time.Now()
	if _, err := run(c); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Run(ctx, echo, Call{}); err == nil {
		t.Error("a request that is over went on")
	}
}

func TestClientsAreSharedByIdentity(t *testing.T) {
	env := plugintest.Env()
	confs := []Redis{
		{Host: "a"}, {Host: "a", Database: 1}, {Host: "a", Password: "p"}, {Host: "a", Username: "u", Password: "p"},
		{Host: "a", TLS: true}, {Host: "a", TLS: true, TLSVerify: true}, {Host: "a", Port: 1}, {Host: "a", Timeout: 5},
	}
	seen := map[*Client]bool{}
	for range 2 {
		for _, conf := range confs {
			c, release, err := Open(env, Single, &Conf{Redis: conf})
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			seen[c] = true
			if strings.Contains((&Conf{Redis: conf}).key(Single), "p#") {
				t.Error("the key shows the password")
			}
		}
	}
	if len(seen) != len(confs) {
		t.Errorf("%d clients for %d identities", len(seen), len(confs))
	}
}

func TestComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	c := open(t, Single, Conf{Redis: Redis{Host: "127.0.0.1", Port: port, Timeout: 20000}})
	if _, err := run(c); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	redistest.SingleAt(t, port)
	if _, err := run(c); err != nil {
		t.Error(err)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for policy, conf := range map[string]Conf{Cluster: {Redis: Redis{ClusterNodes: []string{"noport"}}}, "other": {}} {
		if _, _, err := Open(plugintest.Env(), policy, &conf); err == nil {
			t.Errorf("%s: no error", policy)
		}
	}
}

func TestTLS(t *testing.T) {
	secure := redistest.TLS(t)
	if _, err := run(open(t, Single, Conf{Redis: Redis{Host: "127.0.0.1", Port: secure, Timeout: 20000, TLS: true}})); err != nil {
		t.Error(err)
	}
	_, err := run(open(t, Single, Conf{Redis: Redis{Host: "127.0.0.1", Port: secure, Timeout: 20000, TLS: true, TLSVerify: true}}))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
}
