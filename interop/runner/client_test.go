package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Clients that need a window are run with --gui or if --only names them.
// Otherwise their names are returned.
func TestClientsWithWindowsRunOnRequest(t *testing.T) {
	interop := t.TempDir()
	for _, file := range []string{"plain/install", "window/install", "window/gui"} {
		path := filepath.Join(interop, "clients", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		only          []string
		gui           bool
		runs, skipped string
	}{
		{nil, false, "plain", "window"},
		{nil, true, "plain window", ""},
		{[]string{"window"}, false, "window", ""},
		{[]string{"plain"}, true, "plain", ""},
	} {
		clients, skipped, err := findClients(interop, c.only, c.gui)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, found := range clients {
			names = append(names, found.Name)
		}
		if runs, skipped := strings.Join(names, " "), strings.Join(skipped, " "); runs != c.runs || skipped != c.skipped {
			t.Errorf("--only %v, --gui=%v runs %q and skips %q", c.only, c.gui, runs, skipped)
		}
	}
}

func TestFailedInstallHasTheLastLineAsItsReason(t *testing.T) {
	c := &client{Name: "a", Source: t.TempDir()}
	script := "#!/bin/sh\necho working >&2\necho the registry is down >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(c.Source, "install"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	err := c.install(t.Context(), t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "the registry is down (") {
		t.Errorf("the reason is %v", err)
	}
}

// Clients are installed during the build. Only gotd's installer waits for it,
// because it compiles the same packages. The table's order is that of the names.
func TestOnlyTheTestServersInstallerWaitsForTheBuild(t *testing.T) {
	order := filepath.Join(t.TempDir(), "order")
	var clients []*client
	for _, name := range []string{"a", testServer, "z"} {
		c := &client{Name: name, Source: t.TempDir()}
		script := "#!/bin/sh\necho " + name + " >>" + order + "\n" + "echo 1\n"
		if name == "a" {
			script = "#!/bin/sh\nexit 1\n"
		}
		if err := os.WriteFile(filepath.Join(c.Source, "install"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	built := &binaries{}
	built.building.Go(func() {
		for { // until the others are installed
			text, _ := os.ReadFile(order)
			if string(text) == "z\n" {
				break
			}
			time.Sleep(time.Millisecond)
		}
		os.WriteFile(order, []byte("z\nbuilt\n"), 0o644)
	})
	installed, rows := installAll(t.Context(), clients, t.TempDir(), built)
	if len(installed) != 2 || installed[0].Name != testServer || installed[1].Name != "z" {
		t.Errorf("installed %v", installed)
	}
	if len(rows) != 1 || rows[0].Client != "a" || rows[0].Result != notInstalled {
		t.Errorf("the rows are %v", rows)
	}
	if text, _ := os.ReadFile(order); string(text) != "z\nbuilt\n"+testServer+"\n" {
		t.Errorf("the order was %q", text)
	}
}
