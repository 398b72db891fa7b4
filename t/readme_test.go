package t

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is one fenced block of the README.
type block struct {
	line int
	info string // behind the fence: "sh", "sh server", "text"
	text string
}

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	for i, line := range strings.Split(string(text), "\n") {
		info, fence := strings.CutPrefix(line, "```")
		open := len(all) > 0 && all[len(all)-1].line < 0
		switch {
		case fence && open:
			all[len(all)-1].line *= -1
		case fence:
			all = append(all, block{line: -(i + 1), info: info})
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	return all
}

// TestReadmeTour runs every command of the README in its order, on ports of its
// own: blocks "sh" are run, blocks "sh server" are left running, and each line
// of a block "text" must be in what the block before it printed.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	tour := newTour(t)
	var printed string
	for _, b := range readmeBlocks(t) {
		switch b.info {
		case "sh server":
			tour.serve(b)
		case "sh":
			printed = tour.run(b)
		case "text":
			for _, want := range strings.Split(strings.TrimSpace(b.text), "\n") {
				if !strings.Contains(printed, want) {
					t.Errorf("README.md:%d: %q is not in\n%s", b.line, want, printed)
				}
			}
		}
	}
}

type tour struct {
	t     *testing.T
	dir   string
	ports *strings.Replacer
	env   string // assignments of blocks before

	store, control string // addresses
}

func newTour(t *testing.T) *tour {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	w := &tour{t: t, dir: t.TempDir()}
	for _, d := range []string{"bin", "conf"} {
		if err := os.Mkdir(filepath.Join(w.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(bin, filepath.Join(w.dir, "bin", "sluice")); err != nil {
		t.Fatal(err)
	}
	plain, https, admin, control, metrics, store, echo := freePort(), freePort(), freePort(), freePort(), freePort(), freePort(), freePort()
	config := fmt.Sprintf(`
apisix:
  node_listen: %d
  ssl: {listen: [{port: %d}]}
  control: {port: %d}
plugin_attr: {prometheus: {export_addr: {port: %d}}}
deployment: {admin: {admin_listen: {port: %d}}}
sluice: {store_listen: "127.0.0.1:%d"}
`, plain, https, control, metrics, admin, store)
	if err := os.WriteFile(filepath.Join(w.dir, "conf", "config.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	w.store, w.control = at(store), at(control)
	w.ports = strings.NewReplacer("127.0.0.1:9080", at(plain), "127.0.0.1:9180", at(admin), "127.0.0.1:2379", at(store),
		"127.0.0.1:1980", at(echo), "make run", "bin/sluice run -c conf/config.yaml")
	return w
}

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// serve starts a block and waits until it listens: on the address that it
// names, or says that it serves.
func (w *tour) serve(b block) {
	w.t.Helper()
	log, err := os.Create(filepath.Join(w.dir, fmt.Sprintf("server-%d.log", b.line)))
	if err != nil {
		w.t.Fatal(err)
	}
	text := w.ports.Replace(strings.TrimSpace(b.text))
	cmd := exec.Command("bash", "-c", "exec "+text)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process
		cmd.Wait()
		close(ended)
	}()
	w.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(limit):
			w.t.Errorf("README.md:%d: %s does not end", b.line, text)
			cmd.Process.Kill()
			<-ended
		}
		log.Close()
	})
	err = poll(limit, func() error {
		out, _ := os.ReadFile(log.Name())
		if addr := address.FindString(text); addr != "" {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err
		}
		if !bytes.Contains(out, []byte("msg=serving")) {
			return fmt.Errorf("it does not serve:\n%s", out)
		}
		return nil
	})
	if err != nil {
		w.t.Fatalf("README.md:%d: %s: %v", b.line, text, err)
	}
}

// run runs a block, waits until what it wrote is live, and returns what it
// printed.
func (w *tour) run(b block) string {
	w.t.Helper()
	for _, line := range strings.Split(b.text, "\n") {
		if regexp.MustCompile(`^[A-Z]+=`).MatchString(line) {
			w.env += w.ports.Replace(line) + "\n"
		}
	}
	cmd := exec.Command("bash", "-c", "set -eo pipefail\n"+w.env+w.ports.Replace(b.text))
	cmd.Dir = w.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("README.md:%d: %v\n%s\n%s", b.line, err, b.text, out.String())
	}
	if err := w.settle(); err != nil {
		w.t.Fatalf("README.md:%d: %v", b.line, err)
	}
	return out.String()
}

func (w *tour) settle() error {
	rev, err := storeRevision(w.store)
	if err != nil {
		return err
	}
	resp, err := http.Get(fmt.Sprintf("http://%s/v1/sluice/version?wait=%d&timeout=%d", w.control, rev, int(limit.Seconds())))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("revision %d is not live: %s", rev, resp.Status)
	}
	return nil
}
