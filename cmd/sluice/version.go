package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker; "make build" takes it from git.
var version = ""

// compatible is the APISIX whose configuration and behaviour this is.
const compatible = "3.18.0"

var versionCommand = command{
	name: "version", summary: "print the version",
	help: `Prints the version of this binary and of the APISIX that it follows.

Example:
  sluice version
`,
	run: func(c *command, env *environment, args []string) error {
		fs := c.flags(env)
		if err := parse(fs, args); err != nil {
			return err
		}
		fmt.Fprintf(env.stdout, "sluice %s (APISIX %s, %s)\n", versionText(), compatible, runtime.Version())
		return nil
	},
}

// versionText is the version, also of a binary that "go build" made by itself.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
