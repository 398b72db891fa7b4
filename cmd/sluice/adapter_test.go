package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/configcenter/adapter/backendtest"
)

// asCommand makes this test's binary the command itself, so that tests can
// start and kill real processes.
const asCommand = "SLUICE_TEST_COMMAND"

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(asCommand) != "" {
		os.Exit(dispatch(&environment{stdout: os.Stdout, stderr: os.Stderr}, flag.Args()))
	}
	os.Exit(backendtest.Run(m))
}

// patience is how long anything may take before a test gives up.
const patience = time.Minute

// spawned is an etcd adapter of its own.
type spawned struct {
	cmd  *exec.Cmd
	log  buffer
	done chan struct{} // closed when it has ended
	addr string
}

var listening = regexp.MustCompile(`msg=listening service=etcd addr=(\S+)`)

// launch starts an adapter and returns when it listens.
func launch(t *testing.T, url string, more ...string) *spawned {
	t.Helper()
	p := &spawned{done: make(chan struct{})}
	args := append([]string{"--", "etcd-adapter", "--backend", url, "--listen-addr", "127.0.0.1:0"}, more...)
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Env = append(os.Environ(), asCommand+"=1")
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	until(t, "the adapter listens", func() bool {
		select {
		case <-p.done:
			t.Fatalf("the adapter has ended: %s", p.log.String())
		default:
		}
		m := listening.FindStringSubmatch(p.log.String())
		if m != nil {
			p.addr = m[1]
		}
		return m != nil
	})
	return p
}

// until polls until ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// kill ends the process as a power cut would, as far as it is concerned.
func (p *spawned) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *spawned) lives() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop ends the process in order.
func (p *spawned) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("the adapter does not end")
	}
	if !p.cmd.ProcessState.Success() {
		t.Errorf("%v\n%s", p.cmd.ProcessState, p.log.String())
	}
}

// etcdctl runs Debian's etcdctl; one that fails has "exit status" at its end.
func (p *spawned) etcdctl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := p.command(ctx, args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

func (p *spawned) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "etcdctl", append([]string{"--endpoints", p.addr, "--command-timeout", "30s"}, args...)...)
	c.Env = append(os.Environ(), "ETCDCTL_API=3")
	return c
}

// step is one call of etcdctl, and what it must print.
type step struct {
	args, stdin string
	want        string // a regular expression, over all lines
}

var steps = []step{
	{"put /a 1", "", "^OK"},
	{"put /a 2 --prev-kv", "", "OK\n/a\n1"},
	{"put /b 3", "", "OK"},
	{"get /a", "", "^/a\n2\n$"},
	{"get /a --print-value-only", "", "^2\n$"},
	{"get /a --rev=2", "", "^/a\n1\n$"},
	{"get / --prefix --keys-only", "", "^/a\n\n/b\n\n$"},
	{"get / --prefix --sort-by=MODIFY --order=DESCEND --limit=1", "", "^/b\n3\n$"},
	{"get /a /b", "", "^/a\n2\n$"},
	{"get /a --from-key -w fields", "", `"Count" : 2`},
	{"get /a -w json --consistency=s", "", `"create_revision":2,"mod_revision":3,"version":2,"value":"Mg=="`},
	{"get /none", "", "^$"},
	{"txn", "value(\"/a\") = \"2\"\nmod(\"/b\") > \"1\"\n\nput /c 4\nget /a\n\ndel /a\n\n", "SUCCESS\n\nOK\n\n/a\n2"},
	{"txn", "create(\"/c\") = \"0\"\n\nput /c 5\n\nget /c\n\n", "FAILURE\n\n/c\n4"},
	{"del /c --prev-kv", "", "^1\n/c\n4"},
	{"del /none", "", "^0\n$"},
	{"lease grant 600", "", `lease [0-9a-f]+ granted with TTL\(600s\)`},
	{"put /l 1 --lease=LEASE", "", "OK"},
	{"lease timetolive LEASE --keys", "", `granted with TTL\(600s\), remaining\(\d+s\), attached keys\(\[/l\]\)`},
	{"lease list", "", "found 1 leases\nLEASE"},
	{"lease keep-alive LEASE --once", "", `lease LEASE keepalived with TTL\(600\)`},
	{"lease revoke LEASE", "", "lease LEASE revoked"},
	{"get /l", "", "^$"},
	{"lease revoke 1234", "", "requested lease not found"},
	{"put /x 1 --lease=1234", "", "requested lease not found"},
	{"compaction 4", "", "compacted revision 4"},
	{"compaction 4", "", "required revision has been compacted"},
	{"compaction 4000", "", "required revision is a future revision"},
	{"get /a --rev=2", "", "required revision has been compacted"},
	{"member list", "", `, started, sluice, , http://ADDR, false`},
	{"endpoint status", "", `ADDR, [0-9a-f]+, 3\.\d+\.\d+, .*, true, false, 2,`},
	{"endpoint status -w json", "", `"version":"3\.`},
	{"endpoint health", "", `ADDR is healthy`},
	{"endpoint hashkv", "", `ADDR, [1-9]\d*`},
	{"alarm list", "", "^$"},
	{"alarm disarm", "", "^$"},
	{"defrag", "", "Finished defragmenting etcd member"},
	{"member add other --peer-urls=http://127.0.0.1:1", "", "not capable"},
	{"move-leader 1234", "", "exit status"},
	{"snapshot save DIR/snapshot", "", "Snapshot saved at"},
	{"snapshot status DIR/snapshot", "", `, \d+, \d+, `},
	{"lock name echo locked", "", "^locked\n$"},
	{"lock name false", "", "exit status"},
	{"role add reader", "", "Role reader created"},
	{"role grant-permission reader read /a", "", "Role reader updated"},
	{"role grant-permission reader readwrite /b --prefix", "", "Role reader updated"},
	{"role get reader", "", `KV Read:\n\t/a\n\t\[/b, /c\) \(prefix /b\)`},
	{"role list", "", "reader"},
	{"user add root:secret", "", "User root created"},
	{"user add some:one", "", "User some created"},
	{"user add other --no-password", "", "User other created"},
	{"user grant-role some reader", "", "Role reader is granted to user some"},
	{"user grant-role root root", "", "Role root is granted to user root"},
	{"user list", "", "other\nroot\nsome"},
	{"user get some", "", "Roles: reader"},
	{"auth enable", "", "Authentication Enabled"},
	{"get /a", "", "user name is empty"},
	{"get /a --user some:wrong", "", "invalid user ID or password"},
	{"get /a --user some:one", "", "^/a\n2"},
	{"put /a 3 --user some:one", "", "permission denied"},
	{"put /b1 3 --user some:one", "", "OK"},
	{"get / --prefix --user some:one", "", "permission denied"},
	{"user list --user some:one", "", "permission denied"},
	{"endpoint status --user root:secret", "", "ADDR"},
	{"user passwd some --interactive=false --user root:secret", "two", "Password updated"},
	{"get /a --user some:one", "", "invalid user ID or password"},
	{"get /a --user some:two", "", "^/a\n2"},
	{"role revoke-permission reader /a --user root:secret", "", "Permission of key /a is revoked from role reader"},
	{"get /a --user some:two", "", "permission denied"},
	{"auth disable --user root:secret", "", "Authentication Disabled"},
	{"get /a", "", "^/a\n2"},
	{"user delete some", "", "User some deleted"},
	{"role delete reader", "", "Role reader deleted"},
}

// Debian's etcdctl cannot tell the adapter from an etcd.
func TestEtcdctl(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, kind.URL(t))
			dir, lease := t.TempDir(), ""
			for _, s := range steps {
				fill := strings.NewReplacer("LEASE", lease, "DIR", dir, "ADDR", p.addr)
				got := p.etcdctl(t, s.stdin, strings.Fields(fill.Replace(s.args))...)
				if !regexp.MustCompile(fill.Replace(s.want)).MatchString(got) {
					t.Errorf("etcdctl %s\n got %s\nwant %s", s.args, got, s.want)
				}
				if strings.HasPrefix(s.args, "lease grant") {
					lease = strings.Fields(got)[1]
				}
			}
			p.stop(t)
		})
	}
}

// follow starts an etcdctl that goes on, and returns what it has printed.
func (p *spawned) follow(t *testing.T, args ...string) func() string {
	t.Helper()
	out := new(buffer)
	ctx, cancel := context.WithCancel(context.Background())
	c := p.command(ctx, args...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		c.Wait()
	})
	return out.String
}

// Commands of etcdctl that go on until they are ended.
func TestEtcdctlFollows(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			p, mirror := launch(t, kind.URL(t)), launch(t, "memory")
			p.follow(t, "make-mirror", mirror.addr)
			p.etcdctl(t, "", "put", "/m/1", "one")
			seen := p.follow(t, "watch", "/m/", "--prefix", "--prev-kv", "--rev=1")
			until(t, "the watch's past", func() bool { return strings.Contains(seen(), "PUT\n") && strings.Contains(seen(), "/m/1\none\n") })
			p.etcdctl(t, "", "put", "/m/1", "two")
			p.etcdctl(t, "", "del", "/m/1")
			until(t, "the watch", func() bool {
				return strings.HasSuffix(seen(), "PUT\n/m/1\none\n/m/1\ntwo\nDELETE\n/m/1\ntwo\n/m/1\n\n")
			})
			p.etcdctl(t, "", "put", "/m/2", "three")
			until(t, "the mirror", func() bool {
				return mirror.etcdctl(t, "", "get", "", "--prefix", "--print-value-only") == "three\n"
			})
			elected := p.follow(t, "elect", "chair", "first")
			until(t, "the election", func() bool { return strings.HasSuffix(elected(), "\nfirst\n") })
			second := p.follow(t, "elect", "chair", "second")
			leader := p.follow(t, "elect", "-l", "chair")
			until(t, "the election's observer", func() bool { return strings.Contains(leader(), "\nfirst\n") })
			if strings.Contains(second(), "second") {
				t.Error("two are elected")
			}
			p.stop(t)
			mirror.stop(t)
		})
	}
}

var kills = flag.Int("kills", 3, "how often the adapter is killed on each store")

// written is one write that was answered.
type written struct {
	writer, n int
	rev       int64
}

// An adapter that is killed at any time has lost nothing that it acknowledged,
// and half of no transaction, and goes on with the next revision.
func TestKill(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		if !kind.Durable {
			continue
		}
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			k := &killing{t: t, url: kind.URL(t), next: make([]int, 4)}
			if kind.Shared {
				k.other = launch(t, k.url)
			}
			for range *kills {
				k.round()
			}
			p := launch(t, k.url)
			k.check(p)
			if k.other != nil {
				k.check(k.other)
				k.other.stop(t)
			}
			p.stop(t)
			if len(k.all) == 0 {
				t.Error("nothing was written")
			}
			t.Logf("%d writes", len(k.all))
		})
	}
}

type killing struct {
	t     *testing.T
	url   string
	other *spawned // writes to the same store, and lives; nil: the store is not shared
	mu    sync.Mutex
	all   []written
	next  []int // number of each writer's next write
}

// round lets some write, and kills the adapter meanwhile.
func (k *killing) round() {
	p := launch(k.t, k.url)
	k.check(p)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var writers sync.WaitGroup
	for i := range k.next {
		writers.Go(func() {
			if i == 0 && k.other != nil {
				for p.lives() {
					if !k.write(ctx, k.other, i) {
						k.t.Errorf("the adapter that lives does not take writes: %s", k.other.log.String())
						return
					}
				}
			}
			for k.write(ctx, p, i) {
			}
		})
	}
	k.mu.Lock()
	had := len(k.all)
	k.mu.Unlock()
	until(k.t, "writes", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.all) > had+20
	})
	t := time.NewTimer(time.Duration(rand.IntN(150)) * time.Millisecond)
	<-t.C
	p.kill()
	writers.Wait()
}

// write puts a value under two keys in one transaction, over JSON as APISIX
// does, and says whether it was answered.
func (k *killing) write(ctx context.Context, p *spawned, writer int) bool {
	k.mu.Lock()
	n := k.next[writer]
	k.next[writer]++
	k.mu.Unlock()
	value := fmt.Sprint(n)
	body, _ := json.Marshal(map[string]any{"success": []any{
		map[string]any{"requestPut": map[string]any{"key": fmt.Append(nil, "/left/", writer), "value": []byte(value)}},
		map[string]any{"requestPut": map[string]any{"key": fmt.Append(nil, "/right/", writer), "value": []byte(value)}},
	}})
	answer, err := post(ctx, p.addr, "/v3/kv/txn", body)
	if err != nil {
		return false
	}
	var r struct {
		Header struct {
			Revision int64 `json:",string"`
		}
	}
	if err := json.Unmarshal(answer, &r); err != nil || r.Header.Revision == 0 {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, written{writer, n, r.Header.Revision})
	return true
}

// check reads the whole history and finds every write in it.
func (k *killing) check(p *spawned) {
	k.t.Helper()
	now := revision(k.t, p)
	events := history(k.t, p, now)
	for rev := int64(2); rev <= now; rev++ {
		e := events[rev]
		if len(e) != 2 || e[0].value != e[1].value || strings.TrimPrefix(e[0].key, "/left") != strings.TrimPrefix(e[1].key, "/right") {
			k.t.Fatalf("revision %d of %d is %v: no whole transaction", rev, now, e)
		}
	}
	for _, w := range k.all {
		e := events[w.rev]
		if len(e) != 2 || e[0].key != fmt.Sprint("/left/", w.writer) || e[0].value != fmt.Sprint(w.n) {
			k.t.Fatalf("%+v is lost: revision %d of %d is %v", w, w.rev, now, e)
		}
	}
}

// A damaged journal is refused with its name and the place.
func TestDamagedJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	p := launch(t, "memory:"+path)
	for i := range 5 {
		p.etcdctl(t, "", "put", fmt.Sprint("/", i), "value")
	}
	p.stop(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[bytes.LastIndex(bad[:len(bad)-1], []byte("\n"))-10] ^= 1 // last but one
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start("etcd-adapter", "--backend", "memory:"+path, "--listen-addr", "127.0.0.1:0")
	if code := <-s.code; code != 1 || !regexp.MustCompile(regexp.QuoteMeta(path)+`: line \d+ at byte \d+ is damaged`).MatchString(s.stderr.String()) {
		t.Errorf("code %d: %s", code, s.stderr.String())
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, bad) {
		t.Error("the damaged file was changed")
	}
}
