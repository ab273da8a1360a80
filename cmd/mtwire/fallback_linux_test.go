package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// installation is a program at a path that a service manager starts, again and again, with a
// state directory.
type installation struct {
	program, path, state, socket string
	start                        func() *upgraded
}

// startInstallation installs mtwire, and starts it.
func startInstallation(t *testing.T, environment ...string) (*installation, *upgraded) {
	t.Helper()
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	i := &installation{program: mtwire, path: filepath.Join(dir, "mtwire"), state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "admin")}
	i.install(t, "first")
	dc, log := startEcho(t), filepath.Join(dir, "log")
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	i.start = func() *upgraded {
		t.Helper()
		starts := func() int {
			text, _ := os.ReadFile(log) // none before the first
			return strings.Count(string(text), "msg=limits")
		}
		before := starts()
		u := &upgraded{log: log}
		u.server = startCommand(t, address, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, environment...) },
			i.path, "proxy", "--listen", address, "--dc", "*="+dc, "--log-file", log, "--state", i.state, "--admin", "unix:"+i.socket)
		u.current = u.Process.Pid
		t.Cleanup(u.kill)
		eventually(t, "a start", func() bool { return starts() > before })
		return u
	}
	return i, i.start()
}

func (i *installation) install(t *testing.T, mark string) {
	t.Helper()
	install(t, i.program, i.path, mark)
}

// upgrade upgrades u to a program that is installed.
func (i *installation) upgrade(t *testing.T, u *upgraded, mark string) {
	t.Helper()
	i.install(t, mark)
	out, stderr, code := command(t, "upgrade", "--json", "--socket", i.socket)
	var result upgradeResult
	if err := json.Unmarshal([]byte(out), &result); err != nil || code != 0 {
		t.Fatal(code, err, stderr)
	}
	u.current = result.PID
}

// crash ends the process that serves, as a crash does.
func (u *upgraded) crash(t *testing.T) {
	t.Helper()
	syscall.Kill(u.current, syscall.SIGKILL)
	u.awaitEnd(t, u.current)
}

func (u *upgraded) awaitEnd(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "the end of a process", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH || isZombie(pid) })
}

// runs returns the mark of the program that a process runs: what is behind the last byte of
// mtwire's.
func (i *installation) runs(t *testing.T, u *upgraded) string {
	t.Helper()
	text := readAll(t, filepath.Join("/proc", strconv.Itoa(u.current), "exe"))
	original, err := os.Stat(i.program)
	if err != nil {
		t.Fatal(err)
	}
	return text[original.Size():]
}

// keeps reports whether a program is kept.
func (i *installation) keeps() bool {
	_, err := os.Stat(filepath.Join(i.state, "mtwire.previous"))
	return err == nil
}

// A new program that was killed within its first minute is started again as the one before,
// each time, with a line in the log. Another upgrade to it, or another program at the path,
// ends that.
func TestCrashAfterAnUpgradeFallsBack(t *testing.T) {
	t.Parallel()
	i, u := startInstallation(t)
	i.upgrade(t, u, "second")
	if !i.keeps() || i.runs(t, u) != "second" {
		t.Fatal(i.runs(t, u))
	}
	u.crash(t)
	if u = i.start(); i.runs(t, u) != "first" {
		t.Fatalf("%q runs", i.runs(t, u))
	}
	const line = "the new program has crashed within a minute after its upgrade: the one before is started"
	if lines := strings.Count(readAll(t, u.log), line); lines != 1 {
		t.Errorf("%d lines", lines)
	}
	u.join(t, upgradeModes[0])
	if err := u.stop(t, syscall.SIGTERM); err != nil { // that is no crash, and does not change what is known of the other one
		t.Error(err)
	}
	if u = i.start(); i.runs(t, u) != "first" || strings.Count(readAll(t, u.log), line) != 2 {
		t.Error("the program that crashed is used again, or without a word")
	}

	i.upgrade(t, u, "second")
	if i.runs(t, u) != "second" {
		t.Fatal(i.runs(t, u))
	}
	u.crash(t)
	if u = i.start(); i.runs(t, u) != "first" {
		t.Error("the program that crashed again is used")
	}
	u.crash(t)
	i.install(t, "third")
	if u = i.start(); i.runs(t, u) != "third" || i.keeps() {
		t.Error("another program is not used, or the one before is still kept")
	}
	u.join(t, upgradeModes[1])
}

// An end within the first minute that is no crash, and a crash after it, lead to the new
// program. So does a program that is kept and that others could have changed, or that is
// another one by now.
func TestNoFallBackWithoutACrash(t *testing.T) {
	t.Parallel()
	i, u := startInstallation(t, trialVariable+"=300ms")
	i.upgrade(t, u, "second")
	eventually(t, "the end of the trial", func() bool { return !i.keeps() })
	u.crash(t)
	if u = i.start(); i.runs(t, u) != "second" {
		t.Error("a crash after the trial")
	}
	u.crash(t)

	i, u = startInstallation(t)
	i.upgrade(t, u, "second")
	syscall.Kill(u.current, syscall.SIGTERM)
	u.awaitEnd(t, u.current)
	if u = i.start(); i.runs(t, u) != "second" || i.keeps() {
		t.Error("a regular end")
	}
	for name, change := range map[string]func(kept string) error{
		"others may change it": func(kept string) error { return os.Chmod(kept, 0o777) },
		"it is another one": func(kept string) error {
			install(t, i.program, kept, "fourth")
			return nil
		},
		"the note is damaged": func(string) error { return os.WriteFile(filepath.Join(i.state, "mtwire.trial"), []byte("{"), 0o600) },
	} {
		i.upgrade(t, u, name)
		u.crash(t)
		if err := change(filepath.Join(i.state, "mtwire.previous")); err != nil {
			t.Fatal(err)
		}
		if u = i.start(); i.runs(t, u) != name {
			t.Errorf("%s: %q runs", name, i.runs(t, u))
		}
		u.join(t, upgradeModes[0])
	}
}
