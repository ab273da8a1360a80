package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// SIGTERM to either process in the middle of an upgrade loses no session that is on its way:
// the upgrade ends, with all that it had begun to move, and both processes drain and end.
func TestTerminationDuringAnUpgrade(t *testing.T) {
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"old has committed", "old settles", "new has held", "new has settled"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "mtwire")
			replaceProgram(t, path, fmt.Sprintf("%s='term %s' exec -a \"$0\" %s \"$@\"", stepVariable, step, mtwire))
			u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Path = path })
			const sessions = 5
			for i := range sessions {
				u.join(t, upgradeModes[i%len(upgradeModes)])
			}
			syscall.Kill(u.current, syscall.SIGUSR2)
			eventually(t, "a takeover", func() bool {
				return len(u.takeovers(t)) == 1 && contains(u.log, fmt.Sprintf(`msg="took over" sessions=%d`, sessions))
			})
			eventually(t, "the end of both", func() bool { return strings.Count(readAll(t, u.log), "msg=stopping") == 2 && !askEcho(u) })
			if log := readAll(t, u.log); strings.Contains(log, "level=ERROR") {
				t.Error(log)
			}
		})
	}
}
