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

	"github.com/mtwire/mtwire/interop/process"
)

// installTimeout bounds the installation of a client.
const installTimeout = 10 * time.Minute

// client is one of the directories in clients/.
type client struct {
	Name    string
	Source  string // the directory with install, cases and drive
	Dir     string // the directory that install installs into
	Version string
}

// findClients returns the clients to run: those named in only or, if it is
// empty, all that need no window, and with gui the others too. skipped has the
// names of clients that need a window and are not run.
func findClients(interop string, only []string, gui bool) (clients []*client, skipped []string, err error) {
	installers, err := filepath.Glob(filepath.Join(interop, "clients", "*", "install"))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range installers {
		source := filepath.Dir(path)
		clients = append(clients, &client{Name: filepath.Base(source), Source: source})
	}
	for _, name := range only {
		if name != probesName && !slices.ContainsFunc(clients, func(c *client) bool { return c.Name == name }) {
			return nil, nil, fmt.Errorf("--only: unknown client %q", name)
		}
	}
	if len(only) > 0 {
		return slices.DeleteFunc(clients, func(c *client) bool { return !slices.Contains(only, c.Name) }), nil, nil
	}
	if !gui {
		clients = slices.DeleteFunc(clients, func(c *client) bool {
			window := c.needsWindow()
			if window {
				skipped = append(skipped, c.Name)
			}
			return window
		})
	}
	return clients, skipped, nil
}

// needsWindow reports whether the client has a file "gui".
func (c *client) needsWindow() bool {
	_, err := os.Stat(filepath.Join(c.Source, "gui"))
	return err == nil
}

// install installs the client and sets its version.
func (c *client) install(ctx context.Context, cache string) error {
	start := time.Now()
	c.Dir = filepath.Join(cache, c.Name)
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := process.Command(ctx, filepath.Join(c.Source, "install"), c.Dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Source, &stdout, &stderr
	err := process.Run(cmd)
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

// installAll installs the clients, one at a time because apt and dpkg hold a
// lock. rows has a row for each client that cannot be installed. gotd comes last:
// its installer compiles the packages that are being built, and would compile
// them a second time.
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
