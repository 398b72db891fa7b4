package chaos

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// member is a Sluice whose built-in etcd is one of three.
type member struct {
	*gateway
	admin, store, peer string
	urls               map[string]string
	ca                 *authority
}

// members makes three; none runs yet.
func members(t testing.TB) []*member {
	t.Helper()
	a := newAuthority(t)
	a.issue(time.Now().Add(time.Hour), "localhost")
	urls := map[string]string{}
	var all []*member
	for _, name := range []string{"a", "b", "c"} {
		m := &member{gateway: &gateway{t: t, name: name, dir: t.TempDir(), addr: freeAddr(t), control: freeAddr(t)},
			admin: freeAddr(t), store: freeAddr(t), peer: freeAddr(t), urls: urls, ca: a}
		urls[name] = "https://" + m.peer
		all = append(all, m)
	}
	for _, m := range all {
		m.configure("")
	}
	return all
}

func (m *member) config() string { return filepath.Join(m.dir, "config.yaml") }

// configure writes the node's configuration; further goes into its cluster part.
func (m *member) configure(further string) {
	m.t.Helper()
	host, port := hostPort(m.addr)
	_, control := hostPort(m.control)
	_, adminPort := hostPort(m.admin)
	files := fmt.Sprintf("{cert: %s, key: %s, ca: %s}", m.ca.path("cert.pem"), m.ca.path("key.pem"), m.ca.path("ca.pem"))
	text := fmt.Sprintf(`apisix:
  node_listen: [{ip: %s, port: %s}]
  ssl: {enable: false}
  control: {port: %s}
nginx_config: {http: {enable_access_log: false}}
plugin_attr: {prometheus: {enable_export_server: false}}
deployment:
  admin: {admin_key: [{name: admin, key: secret-key, role: admin}], admin_listen: {ip: 127.0.0.1, port: %s}}
  etcd: {resync_delay: 1}
sluice:
  data_dir: %s/data
  store_listen: %s
  store_tls: %s
  cluster:
    name: %s
    peer_listen: %s
    members: {a: %s, b: %s, c: %s}
    peer_tls: %s
    %s
`, host, port, control, adminPort, m.dir, m.store, files, m.name, m.peer, m.urls["a"], m.urls["b"], m.urls["c"], files, further)
	if err := os.WriteFile(m.config(), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) begin() { m.p = run(m.t, "sluice "+m.name, sluice(m.t), "run", "-c", m.config()) }

// put writes a route through this node's Admin API.
func (m *member) put(id, node string) {
	m.t.Helper()
	body := fmt.Sprintf(`{"uri":"/%s","upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, id, node)
	eventually(m.t, "a write through "+m.name, func() error {
		req, err := http.NewRequest("PUT", "http://"+m.admin+"/apisix/admin/routes/"+id, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("X-API-KEY", "secret-key")
		resp, err := asking.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
			return fmt.Errorf("%d %s", resp.StatusCode, text)
		}
		return nil
	})
}

// storeCommand runs sluice store on this node.
func (m *member) storeCommand(args ...string) (string, error) {
	cmd := exec.Command(sluice(m.t), append([]string{"store", args[0], "-c", m.config()}, args[1:]...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// same waits until the nodes serve the same, with a route called id in it.
func same(t testing.TB, id string, all ...*member) {
	t.Helper()
	eventually(t, "all nodes serve "+id, func() error {
		digests := map[string]bool{}
		for _, m := range all {
			st, err := m.state()
			if err != nil {
				return err
			}
			digests[st.Digest] = true
			resp, err := asking.Get("http://" + m.addr + "/" + id)
			if err != nil {
				return err
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				return fmt.Errorf("%s answers %d", m.name, resp.StatusCode)
			}
		}
		if len(digests) > 1 {
			return errNot
		}
		return nil
	})
}

// TestThreeSluices makes one etcd cluster of three Sluices by configuration,
// with TLS everywhere: one is down at the start, one is killed, one loses its
// disk and joins again, and one starts while it is alone.
func TestThreeSluices(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	all := members(t)
	a, b, c := all[0], all[1], all[2]
	a.begin()
	b.begin()
	a.put("one", up)
	same(t, "one", a, b)
	c.begin()
	c.put("two", up)
	same(t, "two", all...)

	b.p.kill()
	a.put("three", up)
	same(t, "three", a, c)
	b.begin()
	same(t, "three", all...)

	// A node that lost its disk is taken out and joins anew.
	c.p.kill()
	if err := os.RemoveAll(filepath.Join(c.dir, "data")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"remove-member", "c"}, {"add-member", c.urls["c"]}} {
		eventually(t, args[0], func() error {
			out, err := a.storeCommand(args...)
			if err != nil {
				return fmt.Errorf("%s: %s", err, out)
			}
			return nil
		})
	}
	c.configure("joining: true")
	c.begin()
	c.put("four", up)
	same(t, "four", all...)
	if out, err := c.storeCommand("members"); err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(out, "leader") {
		t.Errorf("%v: %s", err, out)
	}
	maintained(t, b)

	// Alone, a node serves what it had.
	for _, m := range all {
		eventually(t, "the last good version of "+m.name, func() error {
			text, err := os.ReadFile(filepath.Join(m.dir, "data", "lastgood"))
			if err == nil && !bytes.Contains(text, []byte("/four")) {
				err = errNot
			}
			return err
		})
		m.p.kill()
	}
	b.begin()
	same(t, "four", b)
	if st, err := b.state(); err != nil || st.Origin != "disk" {
		t.Errorf("alone: %+v, %v", st, err)
	}
	c.begin()
	b.put("five", up)
	same(t, "five", b, c)
}

// maintained runs the other store commands on one of several nodes.
func maintained(t *testing.T, m *member) {
	t.Helper()
	for _, args := range [][]string{{"status"}, {"defrag"}, {"snapshot", filepath.Join(t.TempDir(), "snapshot")}} {
		if out, err := m.storeCommand(args...); err != nil {
			t.Errorf("store %s: %v: %s", args[0], err, out)
		}
	}
}
