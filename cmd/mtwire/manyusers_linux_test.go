//go:build linux && !race

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// manyUsers is how many users a configuration file must be able to have.
	manyUsers = 100_000
	// manyUsersMemory is what a proxy with them may take, in KiB: resident memory, with
	// the program's own.
	manyUsersMemory = 100 << 10
)

// manyUsersConfig returns a configuration file with many users that have limits.
func manyUsersConfig() []byte {
	out := []byte("probe = false\nlog_connections = false\n")
	for i := range manyUsers {
		out = fmt.Appendf(out, "[[user]]\nname = \"user-%d\"\nsecret = \"dd%032x\"\nmax_connections = 100\nmax_addresses = 3\nquota = \"100 GiB\"\nquota_period = \"month\"\nrate_down = \"1 MiB\"\ntime_zone = \"Europe/Berlin\"\n\n", i, int64(i)+1<<32)
	}
	return out
}

// processorTime returns the processor time that the server has used.
func (s *server) processorTime(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all of Go's architectures
	return time.Duration(user+system) * tick
}

var memoryLines = regexp.MustCompile(`(?m)^(VmHWM|VmRSS):\s+(\d+) kB$`)

// memory returns the resident memory of the server, and its largest so far, in KiB.
func (s *server) memory(t *testing.T) (now, largest int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range memoryLines.FindAllSubmatch(status, -1) {
		n, _ := strconv.Atoi(string(line[2]))
		if string(line[1]) == "VmHWM" {
			largest = n
		} else {
			now = n
		}
	}
	return now, largest
}

// settles waits until the server takes no more memory than many users may.
func (s *server) settles(t *testing.T, when string) {
	t.Helper()
	eventually(t, "memory of at most 100 MiB "+when, func() bool {
		now, _ := s.memory(t)
		return 0 < now && now <= manyUsersMemory
	})
	now, largest := s.memory(t)
	t.Logf("%s %d MiB, at most %d so far", when, now>>10, largest>>10)
}

// referenceTime is the processor time that reference takes on the machine of manyUsersTime.
const referenceTime = 100 * time.Millisecond

// manyUsersTime is the processor time that the start with many users may take there.
const manyUsersTime = 2 * time.Second

// reference returns the processor time of work that is no part of this program: other
// machines take longer, and so does one whose processors have much else to do.
func reference(t *testing.T) time.Duration {
	t.Helper()
	type user struct {
		Name, Secret string
		Number       int
		Quota        string
	}
	users := make([]user, manyUsers/2)
	for i := range users {
		users[i] = user{fmt.Sprint("user-", i), fmt.Sprintf("dd%032x", i), i, "100 GiB"}
	}
	used := func() time.Duration {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := used()
	text, err := json.Marshal(users)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return used() - before
}

// A configuration file with 100,000 users, which have limits, is a proxy that serves within
// 2 seconds of processor time, or more on a slower machine. It takes at most 100 MiB of memory, as a process, once what
// the start has needed was given back: a few seconds later. So it does after a reload.
func TestManyUsers(t *testing.T) {
	dir := t.TempDir()
	file, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, manyUsersConfig(), 0o600); err != nil {
		t.Fatal(err)
	}
	slow := reference(t)
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GOGC=", "GOMEMLIMIT=") },
		"--config", file, "--log-file", log)
	s.ask(t)
	took, slow := s.processorTime(t), max(slow, reference(t))
	t.Logf("the start took %v of processor time, and the reference %v", took, slow)
	if most := manyUsersTime * max(slow, referenceTime) / referenceTime; took > most {
		t.Errorf("that is more than %v", most)
	}
	s.settles(t, "after the start")
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a reload", func() bool { return contains(log, "read the configuration again") })
	s.settles(t, "after the reload")
	s.ask(t)
}
