package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// A new process that hangs at any step is given up after the step's time limit: the old one
// goes on, with its listeners and with every session that the new one has not taken over. The
// next upgrade succeeds.
func TestUpgradeToAProcessThatHangs(t *testing.T) {
	t.Parallel()
	binary, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	const runs = `exec -a "$0" "$MTWIRE_TEST_PROGRAM" "$@"`
	for step, taken := range map[string]bool{ // whether it has taken sessions over by then
		"new started":            false,
		"new has the version":    false,
		"new has listeners":      false,
		"new is ready":           false,
		"new holds":              false,
		"new has held":           true,
		"new has the commitment": true,
		"new has state":          true,
		"new has settled":        true,
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel() // they wait
			path := filepath.Join(t.TempDir(), "mtwire")
			replaceProgram(t, path, runs)
			u := startUpgraded(t, func(cmd *exec.Cmd) {
				cmd.Path = path
				cmd.Env = append(cmd.Env, stepTimeoutVariable+"=1s", "MTWIRE_TEST_PROGRAM="+binary)
			}, "--probe=false")
			var conns []*mtwire.Conn
			for _, query := range upgradeModes {
				conns = append(conns, u.join(t, query))
			}
			replaceProgram(t, path, hangVariable+"='"+step+"' "+runs)
			syscall.Kill(u.current, syscall.SIGUSR2)
			eventually(t, "a failure", func() bool { return contains(u.log, "the upgrade has failed") })
			if text := readAll(t, u.log); !strings.Contains(text, "does not answer in time") {
				t.Error(text)
			}
			for _, conn := range conns {
				if err := echoOnce(conn, 100); err != nil && !taken {
					t.Errorf("a session was cut off: %v", err)
				}
			}
			late := u.join(t, upgradeModes[0])
			replaceProgram(t, path, runs)
			for failed := 0; len(u.takeovers(t)) == 0; time.Sleep(10 * time.Millisecond) {
				// On a slow machine the time limit may be too short for a process that works.
				if n := strings.Count(readAll(t, u.log), "the upgrade has failed"); n > failed {
					failed = n
					syscall.Kill(u.current, syscall.SIGUSR2)
				}
			}
			if err := echoOnce(late, 100); err != nil {
				t.Error(err)
			}
			u.join(t, upgradeModes[1])
		})
	}
}
