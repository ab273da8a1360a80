package faults_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// holdings are what a process has that must not add up.
type holdings struct {
	goroutines, descriptors, pipes int
	heap                           int64 // bytes in use after a collection
}

const (
	// heapSlack is far more than the noise of a heap, and far less than what
	// moves in a test.
	heapSlack = 6 << 20
	// runningSlack is for what a proxy does beside its connections: it measures
	// a fronting host now and then, which takes a few goroutines and sockets.
	runningSlack = 8
)

// held is what this process has now. Pipes that nobody uses are closed by a
// collection.
func held() holdings {
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	h := holdings{goroutines: runtime.NumGoroutine(), heap: int64(memory.HeapAlloc)}
	h.descriptors, h.pipes = openFiles("self")
	return h
}

// openFiles counts a process's descriptors, and the pipes among them. Without
// /proc there is nothing to count.
func openFiles(process string) (descriptors, pipes int) {
	dir := "/proc/" + process + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0
	}
	for _, entry := range entries {
		target, err := os.Readlink(dir + entry.Name())
		if err != nil {
			continue // the directory's own
		}
		descriptors++
		if strings.HasPrefix(target, "pipe:") {
			pipes++
		}
	}
	return descriptors, pipes
}

// within says whether there is no more than before.
func (h holdings) within(before holdings, slack int) bool {
	return h.goroutines <= before.goroutines+slack && h.descriptors <= before.descriptors+slack &&
		h.pipes <= before.pipes+slack && h.heap <= before.heap+heapSlack
}

func (h holdings) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d pipes, %.1f MiB", h.goroutines, h.descriptors, h.pipes, float64(h.heap)/(1<<20))
}

// leavesNothing has the test fail if there is more than now when it and all
// that it cleans up has ended.
func leavesNothing(t *testing.T) {
	before := held()
	t.Cleanup(func() { awaitRelease(t, "at the end", before, 0) })
}

// awaitRelease waits until this process has no more than before.
func awaitRelease(t *testing.T, when string, before holdings, slack int) {
	t.Helper()
	var now holdings
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if now = held(); now.within(before, slack) {
			return
		}
	}
	t.Errorf("%s: %v, and before %v", when, now, before)
	stacks := make([]byte, 1<<20)
	t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
}

// eventually waits for something that is about to happen.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in 15 seconds: " + what)
		}
	}
}
