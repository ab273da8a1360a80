package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// installLimit is how long a client may take to install.
const installLimit = 10 * time.Minute

// client is one of the directories in clients/.
type client struct {
	Name    string
	Source  string // with install, cases and drive
	Dir     string // what install filled
	Version string
}

// findClients lists the clients that are asked for: those that are named, or
// all that need no window, and with gui the others too. It also names those
// that nobody asked for.
func findClients(interop string, only []string, gui bool) (clients []*client, others []string, err error) {
	installers, err := filepath.Glob(filepath.Join(interop, "clients", "*", "install"))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range installers {
		source := filepath.Dir(path)
		clients = append(clients, &client{Name: filepath.Base(source), Source: source})
	}
	for _, name := range only {
		if !slices.ContainsFunc(clients, func(c *client) bool { return c.Name == name }) {
			return nil, nil, fmt.Errorf("--only: there is no client %q", name)
		}
	}
	if len(only) > 0 {
		return slices.DeleteFunc(clients, func(c *client) bool { return !slices.Contains(only, c.Name) }), nil, nil
	}
	if !gui {
		clients = slices.DeleteFunc(clients, func(c *client) bool {
			window := c.needsWindow()
			if window {
				others = append(others, c.Name)
			}
			return window
		})
	}
	return clients, others, nil
}

// needsWindow says whether the client has a file "gui".
func (c *client) needsWindow() bool {
	_, err := os.Stat(filepath.Join(c.Source, "gui"))
	return err == nil
}

// install installs the client and learns its version.
func (c *client) install(ctx context.Context, cache string) error {
	start := time.Now()
	c.Dir = filepath.Join(cache, c.Name)
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := command(ctx, filepath.Join(c.Source, "install"), c.Dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Source, &stdout, &stderr
	err := runGroup(cmd)
	took := time.Since(start).Round(time.Millisecond)
	if err == nil {
		if c.Version = lastLine(&stdout); c.Version == "" {
			err = errors.New("install printed no version")
		}
	} else if reason := lastLine(&stderr); reason != "" {
		err = fmt.Errorf("%s (%w)", reason, err)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s\n%s: cannot be installed: %v\n", strings.TrimSpace(stderr.String()), c.Name, err)
		return err
	}
	fmt.Fprintf(os.Stderr, "%s %s is installed, %v\n", c.Name, c.Version, took)
	return nil
}

// installAll installs the clients, one at a time since apt and dpkg want that,
// and has a row for each that cannot be installed. gotd comes last: its
// installer compiles what is being built, and would do so a second time.
func installAll(ctx context.Context, clients []*client, cache string, built *binaries) (installed []*client, rows []row) {
	install := func(c *client) {
		if err := c.install(ctx, cache); err != nil {
			rows = append(rows, row{Client: c.Name, Result: notInstalled, Reason: err.Error()})
			return
		}
		installed = append(installed, c)
	}
	for _, c := range clients {
		if c.Name != testServer {
			install(c)
		}
	}
	for _, c := range clients {
		if c.Name == testServer && built.wait() == nil {
			install(c)
		}
	}
	slices.SortFunc(installed, func(a, b *client) int { return strings.Compare(a.Name, b.Name) })
	return installed, rows
}

func lastLine(b *bytes.Buffer) string {
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
