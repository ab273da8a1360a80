package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The unit has what an upgrade, the watchdog and the store of descriptors need, mtwire takes
// its commands, and systemd the unit.
func TestSuppliedUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/systemd/mtwire.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for _, line := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		settings[line[1]] = line[2]
	}
	for key, value := range map[string]string{"Type": "notify", "NotifyAccess": "main"} {
		if settings[key] != value {
			t.Errorf("%s=%s, want %s", key, settings[key], value)
		}
	}
	for _, key := range []string{"WatchdogSec", "FileDescriptorStoreMax", "StateDirectory", "RuntimeDirectory", "Restart"} {
		if settings[key] == "" {
			t.Errorf("%s is not set", key)
		}
	}
	const installed = "/usr/local/bin/mtwire "
	start, ok := strings.CutPrefix(settings["ExecStart"], installed)
	if !ok {
		t.Fatal(settings["ExecStart"])
	}
	check := exec.Command("mtwire", append(strings.Fields(start), "--check")...)
	check.Env = append(os.Environ(), "STATE_DIRECTORY="+t.TempDir())
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	reload, ok := strings.CutPrefix(settings["ExecReload"], installed)
	if cmd, rest, err := rootCommand().Find(strings.Fields(reload)); !ok || err != nil || cmd.Name() != "upgrade" || len(rest) > 0 {
		t.Errorf("%s: %v", settings["ExecReload"], err)
	}

	// The socket unit has the same address, so that the unit is the same with it and without.
	sockets, err := os.ReadFile("../../examples/systemd/mtwire.socket")
	if err != nil {
		t.Fatal(err)
	}
	listen := regexp.MustCompile(`--listen :(\d+)`).FindStringSubmatch(start)
	stream := regexp.MustCompile(`(?m)^ListenStream=(\d+)$`).FindStringSubmatch(string(sockets))
	if listen == nil || stream == nil || listen[1] != stream[1] {
		t.Errorf("the unit has %q, the socket unit %q", listen, stream)
	}

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // the rest is the same on all systems
	}
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "mtwire.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), installed, mtwire+" ")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "mtwire.service") {
		t.Errorf("%v: %s", err, out)
	}
}
