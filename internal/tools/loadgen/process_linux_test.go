package loadgen

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

// The CPU clock has a finer resolution than the 10 ms of /proc.
func TestCPUTimeHasAFineResolution(t *testing.T) {
	before, err := processTime(os.Getpid())
	if err != nil || before <= 0 {
		t.Fatal(before, err)
	}
	for after := before; after-before < 2*time.Millisecond; {
		step, err := processTime(os.Getpid())
		if err != nil || step < after {
			t.Fatal(after, step, err)
		}
		if after = step; after-before > time.Second {
			t.Fatalf("a step of %v", after-before)
		}
	}
}

// Memory grows with that of a process, and is the sum over all processes.
func TestMemoryIsTheSumOfAllProcesses(t *testing.T) {
	one, err := processes{os.Getpid()}.memory()
	if err != nil || one < 1<<20 {
		t.Fatal(one, err)
	}
	b := make([]byte, 256<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	two, err := processes{os.Getpid(), os.Getpid()}.memory()
	if err != nil || two < one+2*200<<20 {
		t.Errorf("%d, then twice %d: %v", one, two/2, err)
	}
	runtime.KeepAlive(b)
	if n, err := (processes{}).memory(); n != 0 || err != nil {
		t.Error(n, err)
	}
}

func TestMissingProcessIsNamedInTheError(t *testing.T) {
	watched := processes{os.Getpid(), 1 << 29}
	if _, err := watched.time(); !errors.Is(err, errNoProcess) {
		t.Error(err)
	}
	if _, err := watched.memory(); !errors.Is(err, errNoProcess) {
		t.Error(err)
	}
}
