package main

import (
	"fmt"
	"io"
)

func helpCommand() command {
	return command{
		name: "help", args: "[command]", summary: "explain a command",
		help: `Prints what there is, or explains one command.

Example:
  sluice help run
`,
		run: help,
	}
}

func help(_ *command, env *environment, args []string) error {
	if len(args) == 0 {
		writeOverview(env.stdout)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			c.write(env.stdout)
			return nil
		}
	}
	fmt.Fprintf(env.stderr, "invalid argument: %s\n\n", args[0])
	writeOverview(env.stderr)
	return errUsage
}

func (c *command) write(w io.Writer) {
	fmt.Fprintf(w, "Usage: sluice %s %s\n\n%s", c.name, c.args, c.help)
}

func writeOverview(w io.Writer) {
	fmt.Fprint(w, "Usage: sluice <command> [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\n\"sluice help <command>\" explains one, with an example.\n")
}
