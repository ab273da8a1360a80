package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// program makes a program that starts mtwire with an environment variable in addition, and
// has its name. An upgrade of a process that was started by it starts it again.
func program(t *testing.T, script string) string {
	t.Helper()
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mtwire")
	replaceProgram(t, path, script)
	t.Setenv("MTWIRE_TEST_PROGRAM", mtwire)
	return path
}

// replaceProgram replaces a program by a shell script, in which $MTWIRE_TEST_PROGRAM is mtwire.
func replaceProgram(t *testing.T, path, script string) {
	t.Helper()
	writeProgram(t, path, "#!/bin/bash\n"+script+"\n")
}

// writeProgram replaces a program by a text. Another process writes it: a child of this one,
// which another test starts meanwhile, would have the file open for writing, and it could not be
// started.
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `cat > "$0.new" && chmod 700 "$0.new" && mv "$0.new" "$0"`, path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A new process that ends at any step, hangs at it or is no program leaves the old one
// serving: its listeners, and every session that the new one has not taken over already. The
// next upgrade succeeds.
func TestUpgradeToAProcessThatFails(t *testing.T) {
	const runs = `exec -a "$0" "$MTWIRE_TEST_PROGRAM" "$@"`
	path := program(t, runs)
	for name, test := range map[string]struct {
		script string
		taken  bool // the new process has taken sessions over by then
	}{
		"no program":            {"exit 7", false},
		"another process":       {`"$MTWIRE_TEST_PROGRAM" "$@"`, false}, // which ending the script does not end
		"no configuration":      {runs + " --modes none", false},
		"at its start":          {"MTWIRE_TEST_STEP='new started' " + runs, false},
		"after the version":     {"MTWIRE_TEST_STEP='new has the version' " + runs, false},
		"after the listeners":   {"MTWIRE_TEST_STEP='new has listeners' " + runs, false},
		"before it is ready":    {"MTWIRE_TEST_STEP='new is ready' " + runs, false},
		"when it holds some":    {"MTWIRE_TEST_STEP='new holds' " + runs, false},
		"when it has told that": {"MTWIRE_TEST_STEP='new has held' " + runs, true},
		"when it owns some":     {"MTWIRE_TEST_STEP='new has the commitment' " + runs, true},
		"after it has settled":  {"MTWIRE_TEST_STEP='new has settled' " + runs, true},
	} {
		t.Run(name, func(t *testing.T) {
			replaceProgram(t, path, runs)
			u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Path = path })
			conns := make([]*mtwire.Conn, 0)
			for range 3 {
				for _, query := range upgradeModes {
					conns = append(conns, u.join(t, query))
				}
			}
			replaceProgram(t, path, test.script)
			syscall.Kill(u.current, syscall.SIGUSR2)
			eventually(t, "a failure", func() bool { return contains(u.log, "the upgrade has failed") })
			for _, conn := range conns {
				if err := echoOnce(conn, 100); err != nil && !test.taken {
					t.Errorf("a session was cut off: %v", err)
				}
			}
			late := u.join(t, upgradeModes[0])
			replaceProgram(t, path, runs)
			want := 1
			if !test.taken {
				want += len(conns)
			}
			if n := u.upgrade(t); n < want {
				t.Errorf("%d sessions have moved, want %d", n, want)
			}
			if err := echoOnce(late, 100); err != nil {
				t.Error(err)
			}
			u.join(t, upgradeModes[1])
		})
	}
}

// An old process that ends at any step leaves the new one with what it has, and that listens.
func TestUpgradeFromAProcessThatEnds(t *testing.T) {
	t.Parallel()
	for step, kept := range map[string]bool{
		"old started":            false,
		"old has the version":    false,
		"old has sent listeners": false,
		"old has ready":          false,
		"old has offered":        true,
		"old has held":           true,
		"old has committed":      true,
		"old settles":            true,
		"old has settled":        true,
		"old is done":            true,
	} {
		t.Run(step, func(t *testing.T) {
			u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, stepVariable+"="+step) })
			var conns []*mtwire.Conn
			for range 3 {
				for _, query := range upgradeModes {
					conns = append(conns, u.join(t, query))
				}
			}
			syscall.Kill(u.current, syscall.SIGUSR2)
			select {
			case <-u.ended:
			case <-time.After(patience):
				t.Fatal("the old process does not end")
			}
			eventually(t, "a client of the new process", func() bool {
				return askEcho(u)
			})
			for _, conn := range conns {
				if err := echoOnce(conn, 100); kept && err != nil {
					t.Errorf("a session was cut off: %v", err)
				}
			}
		})
	}
}

// askEcho reports whether a new client is served.
func askEcho(u *upgraded) bool {
	conn, err := mtwire.Dial(context.Background(), "tcp://"+u.address+"?"+upgradeModes[0], nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	return echoOnce(conn, 100) == nil
}

// SIGUSR2 to all processes of the service, as systemctl kill sends it, finds the one that it
// has just started, and the one that checks the configuration: neither ends with it, and it
// is for the process before alone.
func TestUpgradeSignalToAllProcesses(t *testing.T) {
	const runs = `exec -a "$0" "$MTWIRE_TEST_PROGRAM" "$@"`
	path := program(t, runs)
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Path = path })
	replaceProgram(t, path, `kill -USR2 $$; `+runs)
	conn := u.join(t, upgradeModes[0])
	for range 2 {
		u.upgrade(t)
		if err := echoOnce(conn, 100); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(readAll(t, u.log), "msg=upgrading"); n != 2 {
		t.Errorf("%d upgrades, want 2", n)
	}
}
