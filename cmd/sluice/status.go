package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"sluice/conf"
)

var statusCommand = command{
	name: "status", args: "[-c conf/config.yaml] [--control ADDR] [--json]", summary: "show what a running gateway serves",
	help: `Asks the control API of the gateway on this machine which revision of the
configuration it serves, how old that is, whether it came from the store or,
because the store did not answer, from disk, and which objects cannot be used.
Exits with 1 when there is no gateway, no configuration, or no store.

Example:
  sluice status -c conf/config.yaml
  sluice status --control 127.0.0.1:9090 --json
`,
	run: showStatus,
}

// askTime bounds a question to a running gateway.
const askTime = 5 * time.Second

func showStatus(c *command, env *environment, args []string) error {
	fs := c.flags(env)
	path := fs.String("c", "", "configuration file (default \"conf/config.yaml\", which may be missing)")
	addr := fs.String("control", "", "address of the control API (default: as the configuration says)")
	asJSON := fs.Bool("json", false, "print what the gateway answered")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *addr == "" {
		cfg, err := conf.Load(*path)
		if err != nil {
			return err
		}
		if *addr, err = controlAddr(cfg); err != nil {
			return err
		}
	}
	text, err := ask("http://" + *addr + "/v1/sluice/status")
	if err != nil {
		return err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s does not answer as the control API of sluice: %w", *addr, err)
	}
	if *asJSON {
		_, err = env.stdout.Write(text)
	} else {
		s.write(env.stdout)
	}
	switch {
	case err != nil:
		return err
	case s.Origin == "none":
		return errors.New("no configuration yet")
	case !s.Reachable:
		return errors.New("the store cannot be reached")
	}
	return nil
}

func controlAddr(cfg *conf.Config) (string, error) {
	for _, l := range cfg.Listeners() {
		if l.Service == conf.ControlAPI {
			return l.Addr, nil
		}
	}
	return "", errors.New("apisix.enable_control is off: there is no control API to ask")
}

func ask(url string) ([]byte, error) {
	client := http.Client{Timeout: askTime, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: askTime}).DialContext}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, fmt.Errorf("no gateway answers: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	const most = 64 << 20
	return io.ReadAll(io.LimitReader(resp.Body, most))
}

func (s *state) write(w io.Writer) {
	from := map[string]string{"store": "the store", "disk": "disk: the store has not answered since the start", "none": "nowhere yet"}[s.Origin]
	reach := "reachable"
	if !s.Reachable {
		reach = "NOT reachable"
	}
	fmt.Fprintf(w, "version   %s\nprovider  %s, %s\nrevision  %s from %s\nage       %s\n", s.Version, s.Provider, reach,
		strconv.FormatInt(s.Rev, 10), from, time.Duration(s.Age*float64(time.Second)).Round(time.Second))
	if s.Error != "" {
		fmt.Fprintf(w, "error     %s\n", s.Error)
	}
	if s.Saved != nil {
		fmt.Fprintf(w, "saved     %s\n", s.Saved.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "digest    %s\napplied   %d changes\n", s.Digest, s.Applied)
	if s.Drifts > 0 {
		fmt.Fprintf(w, "drift     healed %d times\n", s.Drifts)
	}
	fmt.Fprintf(w, "problems  %d\n", len(s.Problems))
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  %s (rev %d): %s\n", p.Key, p.Rev, p.Error)
	}
}
