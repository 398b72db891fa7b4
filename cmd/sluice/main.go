// Command sluice is an API gateway: it serves the configuration, the Admin API
// and the plugins of APISIX. This package reads flags and files, opens
// listeners and joins the parts; it holds no logic of its own.
//
// It does not know what a route or a plugin does.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// command is one thing that the binary can do.
type command struct {
	name    string
	args    string // as shown behind the name
	summary string
	help    string // paragraphs, with an example
	run     func(c *command, env *environment, args []string) error
}

// environment is what a command may reach of the outside; tests replace it.
type environment struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal // nil: those of the process
}

// commands in the order in which help lists them. A function, because help
// itself is one of them and needs the list.
func commands() []command {
	return []command{runCommand, checkCommand, statusCommand, storeCommand(), versionCommand, echoCommand, adapterCommand, relayCommand, helpCommand()}
}

// errUsage says that the command line was wrong; what and how is printed already.
var errUsage = errors.New("usage")

func main() {
	os.Exit(dispatch(&environment{stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:]))
}

// dispatch runs the command that args names and returns the exit code: 0, 1 when
// it failed, 2 when it could not be understood.
func dispatch(env *environment, args []string) int {
	if len(args) == 0 {
		args = []string{"help"}
	}
	for _, c := range commands() {
		if c.name != args[0] && !(c.name == "help" && (args[0] == "-h" || args[0] == "--help")) {
			continue
		}
		switch err := c.run(&c, env, args[1:]); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		default:
			fmt.Fprintf(env.stderr, "sluice %s: %v\n", c.name, err)
			return 1
		}
	}
	fmt.Fprintf(env.stderr, "invalid argument: %s\n\n", args[0])
	writeOverview(env.stderr)
	return 2
}

// flags makes the flag set of c; its usage text is c's help.
func (c *command) flags(env *environment) *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(env.stderr)
	fs.Usage = func() {
		c.write(env.stderr)
		fmt.Fprintln(env.stderr, "\nFlags:")
		fs.PrintDefaults()
	}
	return fs
}

// parse is fs.Parse that refuses arguments beside the flags.
func parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(fs.Output(), "sluice %s: unexpected argument %q\n", fs.Name(), fs.Arg(0))
		return errUsage
	}
	return nil
}
