package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// needed are the programs that tests start, and the Debian packages that have them.
var needed = []struct{ program, pkg, why string }{
	{"git", "git", "finding out whether generated files are clean"},
	{"gcc", "gcc", "the race detector"},
	{"curl", "curl", "the README's tour"},
	{"etcdctl", "etcd-client", "the README's tour"},
	{"etcd", "etcd-server", "faults of the store"},
	{"/usr/lib/postgresql/*/bin/postgres", "postgresql", "the etcd adapter on PostgreSQL"},
	{"/usr/sbin/mariadbd", "mariadb-server", "the etcd adapter on MariaDB"},
	{"redis-server", "redis-server", "what plugins keep in Redis"},
}

// there says whether a program is in PATH, or at a place that a pattern tells.
func there(program string) bool {
	if strings.HasPrefix(program, "/") {
		found, _ := filepath.Glob(program)
		return len(found) > 0
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// unstarted keeps the packages from starting their servers on this machine: the
// tests start their own, and etcd's port is the one that "make run" uses.
const unstarted = `policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { trap 'rm -f $policy' EXIT; printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy; }
`

// tools installs what is missing when it may, and says what to do when not.
func (s *suite) tools() counts {
	var packages []string
	for _, n := range needed {
		if there(n.program) {
			continue
		}
		fmt.Printf("missing: %s, for %s\n", n.program, n.why)
		packages = append(packages, n.pkg)
	}
	if slices.Contains(packages, "gcc") {
		packages = append(packages, "libc6-dev")
	}
	if len(packages) == 0 {
		return counts{passed: 1}
	}
	install := "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
	if os.Getuid() != 0 {
		fmt.Printf("only root may install packages; run this, then make test again:\n  sudo %s\n", install)
		return counts{failed: 1}
	}
	os.Setenv("DEBIAN_FRONTEND", "noninteractive")
	if out, err := command("sh", "-c", unstarted+"apt-get update -q && "+install); err != nil {
		fmt.Printf("%s\n%s\n%v\n", install, out, err)
		return counts{failed: 1}
	}
	return counts{passed: 1}
}

// command runs a program without input and returns what it printed.
func command(name string, args ...string) ([]byte, error) {
	return exec.Command(name, args...).CombinedOutput()
}

// check runs a program that must succeed and print nothing.
func check(name string, args ...string) counts {
	out, err := command(name, args...)
	if len(bytes.TrimSpace(out)) == 0 && err == nil {
		return counts{passed: 1}
	}
	fmt.Printf("%s %s\n%s\n", name, strings.Join(args, " "), out)
	if err != nil {
		fmt.Println(err)
	}
	return counts{failed: 1}
}

func (s *suite) gofmt() counts {
	var args []string
	walk(func(path string) { args = append(args, path) })
	return check("gofmt", append([]string{"-l"}, args...)...)
}

// walk calls f for every Go file of the repository.
func walk(f func(path string)) {
	filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go"):
			f(path)
		}
		return nil
	})
}

func (s *suite) vet() counts { return check("go", "vet", "./...") }

// staticcheck's choice of checks is in staticcheck.conf.
func (s *suite) staticcheck() counts { return check("go", "tool", "staticcheck", "./...") }

// unit runs all tests but those of t, which start the real binary.
func (s *suite) unit() counts {
	out, err := command("go", "list", "./...")
	if err != nil {
		fmt.Printf("%s\n%v\n", out, err)
		return counts{failed: 1}
	}
	var pkgs []string
	for _, p := range strings.Fields(string(out)) {
		if p != "sluice/t" && !strings.HasPrefix(p, "sluice/t/") {
			pkgs = append(pkgs, p)
		}
	}
	return gotest(append([]string{"-race", "-shuffle=on"}, pkgs...)...)
}

// house runs the house rules, the scenarios and the README's tour. Go must not
// take their results from its cache: it does not see what their children read.
func (s *suite) house() counts {
	return gotest("-race", "-shuffle=on", "-count=1", "-timeout=8m", "./t/...")
}

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// fuzzTarget is one function that is fed.
type fuzzTarget struct{ pkg, name string }

// fuzzAll runs every fuzz target for a while, one on each processor at a time:
// much of a target's run is Go's tools getting ready.
func (s *suite) fuzzAll() counts {
	targets, c := fuzzTargets()
	next := make(chan fuzzTarget)
	results := make(chan bool)
	for range runtime.NumCPU() {
		go func() { // ends with the targets
			for t := range next {
				results <- s.fuzzOne(t)
			}
		}()
	}
	go func() {
		defer close(next)
		for _, t := range targets {
			next <- t
		}
	}()
	for range targets {
		if <-results {
			c.passed++
		} else {
			c.failed++
		}
	}
	return c
}

// fuzzTargets finds them in the tree.
func fuzzTargets() (all []fuzzTarget, c counts) {
	walk(func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Println(err)
			c.failed++
		}
		for _, m := range fuzzFunc.FindAllSubmatch(text, -1) {
			all = append(all, fuzzTarget{"./" + filepath.Dir(path), string(m[1])})
		}
	})
	return all, c
}

func (s *suite) fuzzOne(t fuzzTarget) bool {
	out, err := command("go", "test", "-run=^$", "-parallel=1", "-fuzz=^"+t.name+"$", "-fuzztime="+s.fuzz.String(), t.pkg)
	// The fuzzer sometimes reports its own time running out as a failure
	// (golang/go#75804); a real one names the input it wrote.
	if err != nil && (!strings.Contains(string(out), "context deadline exceeded") || strings.Contains(string(out), "Failing input")) {
		fmt.Printf("%s %s\n%s\n%v\n", t.pkg, t.name, out, err)
		return false
	}
	fmt.Printf("%s %s: %s\n", t.pkg, t.name, lastExecs(out))
	return true
}

// lastExecs is the end of the last progress line: how much was tried.
func lastExecs(out []byte) string {
	lines := strings.Split(string(out), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if _, tail, ok := strings.Cut(lines[i], "execs: "); ok {
			return tail + " execs"
		}
	}
	return "ok"
}

// benchOnce runs each benchmark once, so that none rots.
func (s *suite) benchOnce() counts {
	dirs := map[string]bool{}
	walk(func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte("\nfunc Benchmark")) {
				dirs["./"+filepath.Dir(path)] = true
			}
		}
	})
	if len(dirs) == 0 {
		return counts{}
	}
	args := []string{"-run=^$", "-bench=.", "-benchtime=1x"}
	for dir := range dirs {
		args = append(args, dir)
	}
	slices.Sort(args[3:])
	c := gotest(args...)
	if c.failed == 0 {
		c.passed = len(dirs)
	}
	return c
}

// generate runs go generate and fails when it changes a file.
func (s *suite) generate() counts {
	state := func() string {
		// safe.directory: the checkout may belong to somebody else
		diff, err := command("git", "-c", "safe.directory=*", "diff")
		status, err2 := command("git", "-c", "safe.directory=*", "status", "--porcelain")
		if err != nil || err2 != nil {
			fmt.Printf("%s%s\n", diff, status)
			return ""
		}
		return string(status) + string(diff)
	}
	if _, err := os.Stat(".git"); err != nil {
		fmt.Println("no git checkout: generated files are not compared")
		return counts{skipped: 1}
	}
	before := state()
	if c := check("go", "generate", "./..."); c.failed > 0 {
		return c
	}
	if after := state(); after != before {
		fmt.Printf("go generate changes files:\n%s\n", after)
		return counts{failed: 1}
	}
	return counts{passed: 1}
}
