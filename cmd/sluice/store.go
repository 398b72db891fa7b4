package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice/conf"
	"sluice/configcenter/embedded"
	"sluice/configcenter/etcd"
)

// storeCommand is a function, because its run lists its own parts.
func storeCommand() command {
	return command{
		name: "store", args: "snapshot|restore|status|defrag|members|add-member|remove-member|export-to [-c conf/config.yaml] ...", summary: "look after the embedded etcd",
		help: `The store is the etcd that sluice runs itself when deployment.etcd.host is not
set. etcd's own tools work on it as well.

  status              revision, size, quota, and whether it takes writes
  snapshot FILE       write all of it to FILE while it serves
  restore FILE        make the data directory from FILE; the gateway must not run.
                      What was there is renamed, not deleted
  defrag              drop the history, give unused space back, and let a full
                      store take writes again
  members             list the members of a cluster (sluice.cluster)
  add-member URL      let the node with this peer URL join; start it with
                      sluice.cluster.joining: true
  remove-member NAME  take a member out; one that lost its data is removed and
                      added again
  export-to ENDPOINTS copy the configuration to another etcd while it serves;
                      --follow goes on with every change until SIGTERM

Moving to an etcd cluster: start "export-to --follow", set deployment.etcd.host
on each gateway and restart it, then end the export.

Example:
  sluice store status
  sluice store snapshot -c conf/config.yaml /backup/sluice.db
  sluice store restore -c conf/config.yaml /backup/sluice.db
  sluice store export-to --follow http://10.0.0.1:2379,http://10.0.0.2:2379
`,
		run: store,
	}
}

// storeArgs are the arguments of every part of store.
type storeArgs struct {
	cfg  *conf.Config
	url  string
	rest []string

	timeout           time.Duration
	overwrite, follow bool
	user, password    string
}

// storeParts are the parts by name, with the name of the one argument they take.
var storeParts = map[string]struct {
	arg string
	run func(ctx context.Context, env *environment, a *storeArgs) error
}{
	"status":    {"", storeStatus},
	"snapshot":  {"FILE", storeSnapshot},
	"restore":   {"FILE", storeRestore},
	"defrag":    {"", storeDefrag},
	"export-to": {"ENDPOINTS", storeExport},
	"members":   {"", storeMembers},
	"add-member": {"URL", func(ctx context.Context, _ *environment, a *storeArgs) error {
		return a.withClient(func(c *clientv3.Client) error { return embedded.AddMember(ctx, c, a.rest[0]) })
	}},
	"remove-member": {"NAME", func(ctx context.Context, _ *environment, a *storeArgs) error {
		return a.withClient(func(c *clientv3.Client) error { return embedded.RemoveMember(ctx, c, a.rest[0]) })
	}},
}

func store(c *command, env *environment, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		c.write(env.stderr)
		if len(args) > 0 && (args[0] == "-h" || args[0] == "--help") {
			return flag.ErrHelp
		}
		return errUsage
	}
	part, ok := storeParts[args[0]]
	if !ok {
		fmt.Fprintf(env.stderr, "sluice store: there is no %q\n\n", args[0])
		c.write(env.stderr)
		return errUsage
	}
	a := &storeArgs{}
	fs := c.flags(env)
	path := fs.String("c", "", "configuration file (default \"conf/config.yaml\", which may be missing)")
	fs.DurationVar(&a.timeout, "timeout", 5*time.Minute, "limit of the whole work, except of export-to --follow")
	fs.BoolVar(&a.overwrite, "overwrite", false, "export-to: write into a target that has keys of the prefix")
	fs.BoolVar(&a.follow, "follow", false, "export-to: go on with every change until SIGTERM")
	fs.StringVar(&a.user, "user", "", "export-to: user of the target; its password is read from ETCD_PASSWORD")
	if err := fs.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	a.rest, a.password = fs.Args(), os.Getenv("ETCD_PASSWORD")
	if want := min(len(part.arg), 1); len(a.rest) != want {
		fmt.Fprintf(env.stderr, "sluice store %s: wants %s\n", args[0], orNothing(part.arg))
		return errUsage
	}
	var err error
	if a.cfg, err = conf.Load(*path); err != nil {
		return err
	}
	if !a.cfg.EmbeddedStore {
		return errors.New("this configuration has no embedded store: deployment.etcd.host or another provider is set")
	}
	if args[0] == "restore" && a.cfg.Sluice.StoreBackend != "" {
		return fmt.Errorf("sluice.store_backend is %s: restore it with its own tools", kindOf(a.cfg.Sluice.StoreBackend))
	}
	a.url = storeURL(a.cfg)
	ctx, cancel := env.untilSignal()
	defer cancel()
	if !a.follow {
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	return part.run(ctx, env, a)
}

func orNothing(arg string) string {
	if arg == "" {
		return "no argument"
	}
	return "one argument: " + arg
}

func (a *storeArgs) dataDir() string { return filepath.Join(a.cfg.Sluice.DataDir, "etcd") }

// withClient runs f with a client of the running store.
func (a *storeArgs) withClient(f func(*clientv3.Client) error) error {
	t, err := ownStoreTLS(a.cfg).Load()
	if err != nil {
		return err
	}
	c, err := embedded.Connect(a.url, t)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

func storeStatus(ctx context.Context, env *environment, a *storeArgs) error {
	return a.withClient(func(c *clientv3.Client) error {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		r, err := embedded.Inspect(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.stdout, "endpoint  %s\netcd      %s\nrevision  %d\nkeys      %d\nsize      %d bytes, %d in use, %d allowed\n",
			a.url, r.Version, r.Rev, r.Keys, r.Size, r.InUse, r.Quota)
		if r.Full {
			return errors.New("the store is full and refuses writes: delete what is not needed and run \"sluice store defrag\"")
		}
		return nil
	})
}

func storeMembers(ctx context.Context, env *environment, a *storeArgs) error {
	return a.withClient(func(c *clientv3.Client) error {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		all, err := embedded.Members(ctx, c)
		if err != nil {
			return err
		}
		for _, m := range all {
			role := "member"
			switch {
			case m.Leader:
				role = "leader"
			case m.Learner:
				role = "learner"
			case m.Name == "":
				role = "not started yet"
			}
			fmt.Fprintf(env.stdout, "%-12s %-15s %s\n", m.Name, role, strings.Join(m.Peer, ","))
		}
		return nil
	})
}

func storeSnapshot(ctx context.Context, env *environment, a *storeArgs) error {
	t, err := ownStoreTLS(a.cfg).Load()
	if err != nil {
		return err
	}
	if err := embedded.Snapshot(ctx, a.url, t, a.rest[0]); err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "written to %s\n", a.rest[0])
	return nil
}

func storeRestore(_ context.Context, env *environment, a *storeArgs) error {
	kept, err := embedded.Restore(a.rest[0], a.dataDir(), clusterOf(a.cfg))
	if err != nil {
		return err
	}
	if kept != "" {
		fmt.Fprintf(env.stdout, "what was there is now %s\n", kept)
	}
	fmt.Fprintf(env.stdout, "restored to %s\n", a.dataDir())
	return nil
}

func storeDefrag(ctx context.Context, env *environment, a *storeArgs) error {
	return a.withClient(func(c *clientv3.Client) error {
		before, after, err := embedded.Relieve(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.stdout, "%d bytes before, %d bytes after\n", before.Size, after.Size)
		return nil
	})
}

func storeExport(ctx context.Context, env *environment, a *storeArgs) error {
	e := &a.cfg.Deployment.Etcd
	from, err := etcd.Open(etcd.Config{Endpoints: []string{a.url}, Prefix: e.Prefix, TLS: ownStoreTLS(a.cfg).Load})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := etcd.Open(etcd.Config{Endpoints: strings.Split(a.rest[0], ","), Prefix: e.Prefix, User: a.user, Password: a.password})
	if err != nil {
		return err
	}
	defer to.Close()
	return from.Export(ctx, to, a.overwrite, a.follow, func(keys int, rev int64) {
		fmt.Fprintf(env.stdout, "%d keys copied, revision %d\n", keys, rev)
	})
}
