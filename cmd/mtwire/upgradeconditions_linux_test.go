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

// stateOf returns the state directory of a proxy.
func stateOf(u *upgraded) (dir string) {
	for _, entry := range u.Env {
		if value, ok := strings.CutPrefix(entry, "STATE_DIRECTORY="); ok {
			dir = value
		}
	}
	return dir
}

// An upgrade moves all sessions, and none if there is none, in whatever state the state directory
// is, also to a script.
func TestUpgradeUnderOddConditions(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	runs := `exec -a "$0" ` + program + ` "$@"`
	for name, change := range map[string]func(t *testing.T, path, state string){
		"no state directory": func(t *testing.T, _, state string) { remove(t, state) },
		"a file in the place of the state directory": func(t *testing.T, _, state string) {
			remove(t, state)
			if err := os.WriteFile(state, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a state directory without room": func(t *testing.T, _, state string) {
			if err := syscall.Mount("state", state, "tmpfs", 0, "size=4k,nr_inodes=1"); err != nil {
				t.Skipf("mount a tmpfs: %v", err)
			}
			t.Cleanup(func() { syscall.Unmount(state, syscall.MNT_DETACH) })
		},
		"a script": func(t *testing.T, path, _ string) { replaceProgram(t, path, "# another one\n"+runs) },
	} {
		for sessions := 0; sessions <= len(upgradeModes); sessions += len(upgradeModes) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "mtwire")
				replaceProgram(t, path, runs)
				u := startUpgraded(t, func(cmd *exec.Cmd) {
					cmd.Path = path
					patient(cmd)
				}, "--probe=false", "--admin", "off")
				u.join(t, upgradeModes[0]).Close() // before it serves, there is no upgrade
				eventually(t, "the end of a session", func() bool { return contains(u.log, "msg=closed") })
				conns := u.joinAll(t, upgradeModes[:sessions])
				change(t, path, stateOf(u))
				for range 2 {
					if n := u.upgrade(t); n != sessions {
						t.Errorf("%d sessions have moved, want %d", n, sessions)
					}
					for _, conn := range conns {
						if err := echoOnce(conn, 100); err != nil {
							t.Error(err)
						}
					}
				}
				u.join(t, upgradeModes[0])
			})
		}
	}
}

// joinAll connects a client for each query.
func (u *upgraded) joinAll(t *testing.T, queries []string) (conns []*mtwire.Conn) {
	t.Helper()
	for _, query := range queries {
		conns = append(conns, u.join(t, query))
	}
	return conns
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
