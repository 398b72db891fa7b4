// Command suite is what "make test" runs: every check of this repository, one
// after the other, and a closing line that counts them. A failing step does not
// stop the following ones.
//
// It knows Go's tools and Debian's packages, nothing of what is tested.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// counts of a run: tests and subtests, and one for each check that is no test.
type counts struct{ passed, failed, skipped int }

func (c *counts) add(o counts) {
	c.passed += o.passed
	c.failed += o.failed
	c.skipped += o.skipped
}

// suite is one run.
type suite struct {
	fuzz  time.Duration // for each target
	total counts
	names []string // of what failed
}

// step is one part of the run, chosen with -only by name.
type step struct {
	name string
	run  func(*suite) counts
}

var steps = []step{
	{"tools", (*suite).tools},
	{"gofmt", (*suite).gofmt},
	{"vet", (*suite).vet},
	{"staticcheck", (*suite).staticcheck},
	{"unit", (*suite).unit},
	{"house", (*suite).house},
	{"fuzz", (*suite).fuzzAll},
	{"bench", (*suite).benchOnce},
	{"generate", (*suite).generate},
}

func main() {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	only := flag.String("only", "", "steps to run, separated by commas (default all: "+strings.Join(names, ",")+")")
	s := &suite{}
	flag.DurationVar(&s.fuzz, "fuzztime", 5*time.Second, "time for each fuzz target")
	flag.Parse()
	for _, name := range strings.Split(*only, ",") {
		if name != "" && !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "-only %s: one of %s is wanted\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}
	start := time.Now()
	for _, st := range steps {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), st.name) {
			continue
		}
		fmt.Printf("== %s\n", st.name)
		at := time.Now()
		c := st.run(s)
		s.total.add(c)
		fmt.Printf("== %s: %d passed, %d failed, %d skipped, %s\n", st.name, c.passed, c.failed, c.skipped, time.Since(at).Round(time.Second/10))
		if c.failed > 0 {
			s.names = append(s.names, st.name)
		}
		if st.name == "tools" && c.failed > 0 {
			break
		}
	}
	if len(s.names) > 0 {
		fmt.Printf("failed: %s\n", strings.Join(s.names, ", "))
	}
	fmt.Printf("%d passed, %d failed, %d skipped (%s)\n", s.total.passed, s.total.failed, s.total.skipped, time.Since(start).Round(time.Second))
	if s.total.failed > 0 {
		os.Exit(1)
	}
}
