package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// event is one line of "go test -json".
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// gotest runs go test, prints one line a package and the output of what
// failed, and counts the tests and subtests.
func gotest(args ...string) counts {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stdout
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Println(err)
		return counts{failed: 1}
	}
	c := tally(pipe, os.Stdout)
	if err := cmd.Wait(); err != nil && c.failed == 0 {
		fmt.Println(err)
		c.failed++
	}
	return c
}

// tally reads events until their end. A package that fails without a failing
// test (it does not compile, it panics) counts as one failure.
func tally(r io.Reader, w io.Writer) counts {
	var c counts
	output := map[string][]string{} // by package and test
	failures := map[string]int{}    // by package
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text())
			continue
		}
		key := e.Package + e.ImportPath + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			output[key] = append(output[key], e.Output)
		case "pass", "skip":
			if e.Test == "" {
				if e.Action == "pass" {
					fmt.Fprintf(w, "ok    %s %.1fs\n", e.Package, e.Elapsed)
				}
			} else if e.Action == "pass" {
				c.passed++
			} else {
				c.skipped++
				fmt.Fprintf(w, "skip  %s %s\n", e.Package, e.Test)
			}
			delete(output, key)
		case "fail", "build-fail":
			fmt.Fprintf(w, "FAIL  %s\n%s", strings.TrimSpace(key), strings.Join(output[key], ""))
			delete(output, key)
			if e.Test != "" || failures[e.Package] == 0 {
				c.failed++
			}
			failures[e.Package]++
		}
	}
	return c
}
