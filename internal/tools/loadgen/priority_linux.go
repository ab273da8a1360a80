package loadgen

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// raisePriority puts this process before all others of the usual priority, where that
// is allowed, so that the echoes it measures do not wait for a processor at this end:
// as the first of the real-time class SCHED_RR, or nice(2) -10. It returns the name of
// the priority, and what makes it normal again. A process that is started in between
// has it, too.
func raisePriority() (name string, restore func()) {
	now, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return normalPriority, func() {}
	}
	before := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: now.Policy, Nice: now.Nice, Priority: now.Priority}
	for _, f := range []struct {
		name string
		attr unix.SchedAttr
	}{
		{"SCHED_RR", unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}},
		{"nice -10", unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: -10}},
	} {
		if setThreads(&f.attr) == nil {
			return f.name, func() { setThreads(&before) }
		}
	}
	return normalPriority, func() {}
}

// LowerPriority puts this process behind all others, as SCHED_IDLE, which needs no
// privilege: it is for the process of ServeBulk, whose clients and data centre would be
// elsewhere if this were not a measurement. It returns the name of the priority.
func LowerPriority() (name string) {
	if setThreads(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}) != nil {
		return normalPriority
	}
	return "SCHED_IDLE"
}

// setThreads sets attributes of all threads of this process. A new thread has those of
// the thread that starts it.
func setThreads(attr *unix.SchedAttr) error {
	done := map[int]bool{}
	for before := -1; before < len(done); { // until no thread is new
		before = len(done)
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil || done[id] {
				continue
			}
			if err := unix.SchedSetAttr(id, attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
			done[id] = true
		}
	}
	return nil
}
