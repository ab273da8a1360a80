package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The loop that keeps a processor awake is on that processor, and it and all other threads
// of its process run behind everything else, whatever the priority of its parent is.
func TestKeepAwake(t *testing.T) {
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		t.Fatal(err)
	}
	processor := 0
	for !own.IsSet(processor) {
		processor++
	}
	cmd := exec.Command("mtwire", keepAwakeName, strconv.Itoa(processor))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" || err != nil {
		t.Fatal(line, err)
	}
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/task/*")
	if err != nil || len(threads) < 2 {
		t.Fatal(threads, err)
	}
	pinned := 0
	for _, thread := range threads {
		id, _ := strconv.Atoi(filepath.Base(thread))
		attr, err := unix.SchedGetAttr(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		if attr.Policy != unix.SCHED_IDLE {
			t.Errorf("thread %d has policy %d", id, attr.Policy)
		}
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(id, &set); err != nil {
			t.Fatal(err)
		}
		if set.Count() == 1 && set.IsSet(processor) {
			pinned++
		}
	}
	if own.Count() > 1 && pinned != 1 {
		t.Errorf("%d threads are on processor %d only", pinned, processor)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A processor that the machine does not have is an error, and none is kept awake.
func TestKeepAwakeOfNoProcessor(t *testing.T) {
	out, err := exec.Command("mtwire", keepAwakeName, "0", strconv.Itoa(1<<20)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "on processor 1048576: ") {
		t.Errorf("%v: %s", err, out)
	}
}
