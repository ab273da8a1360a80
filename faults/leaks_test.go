package faults_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// resources are what a process may not leak.
type resources struct {
	goroutines, descriptors, pipes int
	heap                           int64 // bytes in use after a collection
}

const (
	// heapSlack, in bytes, is far more than the noise of a heap and far less
	// than the data that a test moves.
	heapSlack = 6 << 20
	// idleSlack is the number of goroutines and of descriptors that a proxy
	// without clients may use: it probes its fronting host now and then.
	idleSlack = 8
)

// measureResources returns the resources of this process. A garbage collection
// closes pipes that are not in use.
func measureResources() resources {
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	r := resources{goroutines: runtime.NumGoroutine(), heap: int64(memory.HeapAlloc)}
	r.descriptors, r.pipes = openFiles("self")
	return r
}

// openFiles returns the number of a process's descriptors, and of the pipes
// among them. Both are 0 on a system without /proc.
func openFiles(process string) (descriptors, pipes int) {
	dir := "/proc/" + process + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0
	}
	for _, entry := range entries {
		target, err := os.Readlink(dir + entry.Name())
		if err != nil {
			continue // the descriptor of dir itself
		}
		descriptors++
		if strings.HasPrefix(target, "pipe:") {
			pipes++
		}
	}
	return descriptors, pipes
}

// within reports whether r is no more than before, with slack for all but the
// heap.
func (r resources) within(before resources, slack int) bool {
	return r.goroutines <= before.goroutines+slack && r.descriptors <= before.descriptors+slack &&
		r.pipes <= before.pipes+slack && r.heap <= before.heap+heapSlack
}

func (r resources) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d pipes, %.1f MiB", r.goroutines, r.descriptors, r.pipes, float64(r.heap)/(1<<20))
}

// checkLeaks fails the test if this process has more resources after the test's
// cleanup functions than now. It must be called before those are registered.
func checkLeaks(t *testing.T) {
	before := measureResources()
	t.Cleanup(func() { awaitRelease(t, "at the end", before, 0) })
}

// awaitRelease waits until this process has no more resources than before.
func awaitRelease(t *testing.T, when string, before resources, slack int) {
	t.Helper()
	var now resources
	for end := time.Now().Add(testTimeout); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if now = measureResources(); now.within(before, slack) {
			return
		}
	}
	t.Errorf("%s: %v; before: %v", when, now, before)
	stacks := make([]byte, 1<<20)
	t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
}

// eventually waits until condition returns true.
func eventually(t *testing.T, description string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", testTimeout, description)
		}
	}
}
