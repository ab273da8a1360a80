package loadgen

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The priority that the report names is that of every thread, and gone afterwards.
func TestPriorityIsRaisedAndRestored(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attributes := func(id int) unix.SchedAttr {
		a, err := unix.SchedGetAttr(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		return *a
	}
	before := attributes(0)
	name, restore := raisePriority()
	for _, id := range []int{0, os.Getpid()} { // this thread and the first
		a := attributes(id)
		is := map[string]bool{
			"SCHED_RR":     a.Policy == unix.SCHED_RR,
			"nice -10":     a.Policy == unix.SCHED_NORMAL && a.Nice == -10,
			normalPriority: a.Policy == before.Policy && a.Nice == before.Nice,
		}
		if !is[name] {
			t.Errorf("%s: policy %d, nice %d", name, a.Policy, a.Nice)
		}
	}
	restore()
	if a := attributes(0); a.Policy != before.Policy || a.Nice != before.Nice {
		t.Errorf("restored to policy %d, nice %d, from %d, %d", a.Policy, a.Nice, before.Policy, before.Nice)
	}
}
