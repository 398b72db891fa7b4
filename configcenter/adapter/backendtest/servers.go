package backendtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the servers are asked with it
	_ "github.com/jackc/pgx/v5/stdlib" // and with this
)

// startTime bounds how long a database server may take to start.
const startTime = time.Minute

// Server is a database server of the tests: it has its own folder, and answers
// on a socket in there only.
type Server struct {
	kind *engine
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	dbs  int
	mu   sync.Mutex
}

// engine is what a kind of database server does its own way.
type engine struct {
	driver string
	make   func(s *Server) *exec.Cmd // makes an empty data folder
	serve  func(s *Server) *exec.Cmd
	stop   syscall.Signal                    // in order
	kill   syscall.Signal                    // at once; what is left can be removed
	admin  func(s *Server) string            // for the driver
	url    func(s *Server, db string) string // for --backend
}

// debianDirs are where Debian keeps programs that are not for everybody.
var debianDirs = []string{"/usr/lib/postgresql/*/bin", "/usr/sbin"}

// program finds a server's program; the newest if there are several.
func program(name string) string {
	for _, dir := range debianDirs {
		found, _ := filepath.Glob(filepath.Join(dir, name))
		if len(found) > 0 {
			slices.Sort(found)
			return found[len(found)-1]
		}
	}
	return name // PATH decides
}

var postgres = &engine{
	driver: "pgx",
	make: func(s *Server) *exec.Cmd {
		return exec.Command(program("initdb"), "-D", s.dir+"/data", "-U", "sluice", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	},
	serve: func(s *Server) *exec.Cmd {
		return exec.Command(program("postgres"), "-D", s.dir+"/data", "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=200")
	},
	stop:  syscall.SIGINT,
	kill:  syscall.SIGQUIT,
	admin: func(s *Server) string { return s.kind.url(s, "postgres") },
	url: func(s *Server, db string) string {
		return "postgres://sluice@/" + db + "?host=" + url.QueryEscape(s.dir)
	},
}

var mariadb = &engine{
	driver: "mysql",
	make: func(s *Server) *exec.Cmd {
		return exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+s.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	},
	serve: func(s *Server) *exec.Cmd {
		return exec.Command(program("mariadbd"), "--no-defaults", "--datadir="+s.dir+"/data", "--socket="+s.dir+"/sock",
			"--pid-file="+s.dir+"/pid", "--skip-networking", "--max-connections=200", "--innodb-buffer-pool-size=64M")
	},
	stop:  syscall.SIGTERM,
	kill:  syscall.SIGKILL,
	admin: func(s *Server) string { return "root@unix(" + s.dir + "/sock)/" },
	url: func(s *Server, db string) string {
		return "mysql://root@unix(" + s.dir + "/sock)/" + db
	},
}

// newServer makes a server in a folder and starts it.
func (e *engine) newServer(in string) (*Server, error) {
	dir, err := os.MkdirTemp(in, "sluice-db")
	if err != nil {
		return nil, err
	}
	s := &Server{kind: e, dir: dir}
	cred, err := unprivileged()
	if err == nil && cred != nil {
		err = os.Chown(dir, int(cred.Uid), int(cred.Gid))
	}
	if err == nil {
		c := e.make(s)
		c.SysProcAttr, c.Dir = attributes(cred), dir
		if out, e := c.CombinedOutput(); e != nil {
			err = fmt.Errorf("%s: %w\n%s", c, e, out)
		}
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// unprivileged is who a database server runs as when the tests are root's,
// which such a server refuses; nil otherwise.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

// Start starts the server, and returns when it answers.
func (s *Server) Start() error {
	cred, err := unprivileged()
	if err != nil {
		return err
	}
	log, err := os.Create(s.dir + "/log")
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd, s.done = s.kind.serve(s), make(chan struct{})
	s.cmd.SysProcAttr, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = attributes(cred), s.dir, log, log
	started := make(chan error, 1)
	go func() { // ends with the server
		// The server is to die with the thread that started it: that one must
		// not die before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait()
		}
		close(s.done)
	}()
	if err := <-started; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		if err = s.do(ctx, "SELECT 1"); err == nil {
			return nil
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.Join(err, s.Stop())
		case <-s.done:
			text, _ := os.ReadFile(s.dir + "/log")
			return fmt.Errorf("%s has ended: %s", s.cmd, text)
		}
	}
}

// Pause makes the server hang until Continue: what it has open stays open, and
// nothing is answered.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP, 'T') }

// Continue ends a Pause.
func (s *Server) Continue() error { return s.signal(syscall.SIGCONT, 0) }

// signal sends a signal to the server and its children, and waits until they
// are in a state, unless that is 0.
func (s *Server) signal(sig syscall.Signal, state byte) error {
	pid := strconv.Itoa(s.cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return err
	}
	for _, p := range append(strings.Fields(string(children)), pid) {
		n, err := strconv.Atoi(p)
		if err != nil {
			return err
		}
		if err := syscall.Kill(n, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		for state != 0 {
			stat, err := os.ReadFile("/proc/" + p + "/stat")
			if _, after, ok := strings.Cut(string(stat), ") "); err != nil || ok && after[0] == state {
				break // it hangs, or has ended
			}
			runtime.Gosched()
		}
	}
	return nil
}

// Stop ends the server, and returns when it has.
func (s *Server) Stop() error { return s.end(s.kind.stop) }

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.Continue(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := s.cmd.Process.Signal(sig)
	<-s.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (s *Server) remove() error { return errors.Join(s.end(s.kind.kill), os.RemoveAll(s.dir)) }

func (s *Server) do(ctx context.Context, statement string) error {
	db, err := sql.Open(s.kind.driver, s.kind.admin(s))
	if err != nil {
		return err
	}
	defer db.Close() // it was for this only
	_, err = db.ExecContext(ctx, statement)
	return err
}

// URL makes an empty database and returns its name, as --backend takes it.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dbs++
	name := fmt.Sprint("s", s.dbs)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := s.do(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.kind.url(s, name)
}

// shared are the servers that all tests of a binary use.
var shared struct {
	sync.Mutex
	servers map[*engine]*Server
}

// db makes an empty database on the kind's shared server.
func (e *engine) db(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	s := shared.servers[e]
	if s == nil {
		var err error
		if s, err = e.newServer(fast(t)); err != nil {
			t.Fatal(err)
		}
		if shared.servers == nil {
			shared.servers = map[*engine]*Server{}
		}
		shared.servers[e] = s
	}
	return s.URL(t)
}

// Run tells the tests of a package to run, and ends what they started. A
// package that uses Kinds calls it from TestMain.
func Run(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	for _, s := range shared.servers {
		if err := s.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}
