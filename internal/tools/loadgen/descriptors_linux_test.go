package loadgen

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The limit of the proxy's processes is checked too, and is the sum of theirs.
func TestTooFewDescriptorsOfTheProxyAreAnError(t *testing.T) {
	var pids []int
	for range 2 {
		proxy := exec.Command("sleep", "60")
		if err := proxy.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { proxy.Process.Kill(); proxy.Wait() })
		pids = append(pids, proxy.Process.Pid)
		if err := unix.Prlimit(proxy.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := processes(pids).descriptorLimit(); got != 200 {
		t.Errorf("limit of two processes: %d, want 200", got)
	}
	dc := startDataCenter(t)
	plan := smallPlan(dc, direct(dc.Addr()))
	plan.Proxy.Processes, plan.Idle, plan.Phases = pids[:1], 40, []Phase{PhaseIdle}
	_, err := Run(testContext(t), plan)
	const want = "idle: the proxy needs 176 file descriptors, two for each of 56 connections, and may have 100: "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	plan.Proxy.Processes = pids
	if _, err := Run(testContext(t), plan); err != nil {
		t.Error(err)
	}
}
