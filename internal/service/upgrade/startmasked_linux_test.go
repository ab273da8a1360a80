package upgrade

import (
	"os/exec"
	"strings"
	"testing"
)

// Signals that a server catches wait in a process that was started for an upgrade, and so do not
// end it before it catches them.
func TestSignalsWaitInAStartedProcess(t *testing.T) {
	for _, name := range []string{"USR2", "HUP"} {
		var out strings.Builder
		cmd := exec.Command("sh", "-c", "kill -"+name+" $$; echo waits")
		cmd.Stdout = &out
		if err := startMasked(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || out.String() != "waits\n" {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}
