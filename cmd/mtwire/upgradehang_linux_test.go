package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
	const untilReady, later = "1s 1m", "1m 1s" // the time limits of the upgrade that hangs
	for step, test := range map[string]struct {
		limits string
		taken  bool // it has taken sessions over by then
	}{
		"new started":            {untilReady, false},
		"new has the version":    {untilReady, false},
		"new has listeners":      {untilReady, false},
		"new is ready":           {untilReady, false},
		"new holds":              {later, false},
		"new has held":           {later, true},
		"new has the commitment": {later, true},
		"new has state":          {later, true},
		"new has settled":        {later, true},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel() // they wait
			path, limits := filepath.Join(t.TempDir(), "mtwire"), filepath.Join(t.TempDir(), "limits")
			replaceProgram(t, path, runs)
			u := startUpgraded(t, func(cmd *exec.Cmd) {
				cmd.Path = path
				cmd.Env = append(cmd.Env, limitsVariable+"="+limits, "MTWIRE_TEST_PROGRAM="+binary)
			}, "--probe=false")
			var conns []*mtwire.Conn
			for _, query := range upgradeModes {
				conns = append(conns, u.join(t, query))
			}
			replaceProgram(t, path, hangVariable+"='"+step+"' "+runs)
			if err := os.WriteFile(limits, []byte(test.limits), 0o600); err != nil {
				t.Fatal(err)
			}
			syscall.Kill(u.current, syscall.SIGUSR2)
			eventually(t, "a failure", func() bool { return contains(u.log, "the upgrade has failed") })
			if text := readAll(t, u.log); !strings.Contains(text, "does not answer in time") {
				t.Error(text)
			}
			for _, conn := range conns {
				if err := echoOnce(conn, 100); err != nil && !test.taken {
					t.Errorf("a session was cut off: %v", err)
				}
			}
			late := u.join(t, upgradeModes[0])
			replaceProgram(t, path, runs)
			if err := os.Remove(limits); err != nil {
				t.Fatal(err)
			}
			u.upgrade(t)
			if err := echoOnce(late, 100); err != nil {
				t.Error(err)
			}
			u.join(t, upgradeModes[1])
		})
	}
}
