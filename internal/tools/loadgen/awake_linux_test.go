package loadgen

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestProcessorsThatDoNotSleep(t *testing.T) {
	one, other, both := []int{0}, []int{1}, []int{0, 1}
	for _, test := range []struct {
		phase             Phase
		proxy, load, want []int
	}{
		{PhaseLatency, both, both, both},
		{PhaseChat, other, one, both},
		{PhaseChurn, both, one, both},
		{PhaseChatDownload, one, other, one},
		{PhaseChatUpload, both, other, one},
		{PhaseChatDownload, both, both, nil},
		{PhaseDownload, one, other, nil},
		{PhaseIdle, one, other, nil},
	} {
		if got := sleepless(test.phase, test.proxy, test.load); !slices.Equal(got, test.want) {
			t.Errorf("%s, proxy on %v, load on %v: %v, want %v", test.phase, test.proxy, test.load, got, test.want)
		}
	}
}

// Processors are kept awake in each phase of small messages until its end, and an error
// ends the run.
func TestProcessorsAreKeptAwakeWhilePhasesRun(t *testing.T) {
	dc := startDataCenter(t)
	plan := smallPlan(dc, direct(dc.Addr()))
	plan.Phases = []Phase{PhaseDownload, PhaseLatency, PhaseChat}
	own, err := processors(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	plan.Progress = func(line string) {
		if name, _, _ := strings.Cut(line, ":"); name != "warning" {
			events = append(events, name)
		}
	}
	var failed error
	plan.Awake = func(_ context.Context, list []int) (func(), error) {
		if !slices.Equal(list, own) {
			t.Errorf("awake: %v, want %v", list, own)
		}
		events = append(events, "awake")
		return func() { events = append(events, "stopped") }, failed
	}
	report, err := Run(testContext(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	if want := "download latency awake stopped chat awake stopped"; strings.Join(events, " ") != want {
		t.Errorf("%q, want %q", events, want)
	}
	if !report.Settings.Awake {
		t.Error("the report does not say so")
	}
	failed = errors.New("not allowed")
	if _, err := Run(testContext(t), plan); !errors.Is(err, failed) {
		t.Error(err)
	}
}

// A process of another session has a warning where the kernel groups processes by session.
func TestWarningOfAnotherSession(t *testing.T) {
	enabled, _ := os.ReadFile("/proc/sys/kernel/sched_autogroup_enabled")
	here := startCat(t, (*exec.Cmd).Start)
	if warning := groupWarning(here); warning != "" {
		t.Error(warning)
	}
	elsewhere := startCat(t, func(cmd *exec.Cmd) error {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	})
	if warning := groupWarning(elsewhere); (warning != "") != (strings.TrimSpace(string(enabled)) == "1") {
		t.Errorf("sched_autogroup_enabled %q: %q", enabled, warning)
	}
}
