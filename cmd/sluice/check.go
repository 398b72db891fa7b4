package main

import (
	"fmt"

	"sluice/conf"
)

var checkCommand = command{
	name: "check", args: "[-c conf/config.yaml]", summary: "check the configuration file",
	help: `Reads the configuration as run would, reports what has no effect, and opens
nothing. Exits with 1 and names file, line, key and value when it is wrong.

Example:
  sluice check -c conf/config.yaml
`,
	run: check,
}

func check(c *command, env *environment, args []string) error {
	fs := c.flags(env)
	path := fs.String("c", "", "configuration file (default \"conf/config.yaml\", which may be missing)")
	if err := parse(fs, args); err != nil {
		return err
	}
	cfg, err := conf.Load(*path)
	if err != nil {
		return fmt.Errorf("configuration test failed: %w", err)
	}
	if _, err := adminTLS(cfg); err != nil {
		return fmt.Errorf("configuration test failed: %w", err)
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(env.stderr, "warning: %s\n", w)
	}
	fmt.Fprintln(env.stdout, "configuration test is successful")
	return nil
}
