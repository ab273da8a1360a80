package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
)

// programs returns a path at which there is mtwire, and a function that has it start with
// other variables.
func programs(t *testing.T) (path string, set func(before string)) {
	t.Helper()
	binary, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "mtwire")
	set = func(before string) {
		t.Helper()
		replaceProgram(t, path, before+` exec -a "$0" "`+binary+`" "$@"`)
	}
	set("")
	return path, set
}

// Programs that speak older and newer versions of the protocol take over from one another,
// upwards and downwards, with all sessions.
func TestUpgradeBetweenVersions(t *testing.T) {
	t.Parallel()
	path, set := programs(t)
	set(protocolVariable + "=3")
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Path = path; patient(cmd) }, "--probe=false")
	var conns []*mtwire.Conn
	for _, query := range upgradeModes {
		conns = append(conns, u.join(t, query))
	}
	for _, version := range []int{2, 1, 3, 1, 2, 3} {
		set(fmt.Sprint(protocolVariable, "=", version))
		if n := u.upgrade(t); n != len(conns) {
			t.Errorf("version %d: %d sessions have moved, want %d", version, n, len(conns))
		}
		for _, conn := range conns {
			if err := echoOnce(conn, 100); err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
		}
		conns = append(conns, u.join(t, upgradeModes[version]))
	}
}

// If descriptors are scarce in the new process, what it cannot hold goes on in the old one,
// and later upgrades move it: no session is lost.
func TestUpgradeWithFewDescriptors(t *testing.T) {
	t.Parallel()
	path, set := programs(t)
	u := startUpgraded(t, func(cmd *exec.Cmd) {
		cmd.Path = path
		patient(cmd)
	}, "--probe=false")
	var conns []*mtwire.Conn
	for i := range 60 {
		conns = append(conns, u.join(t, upgradeModes[i%len(upgradeModes)]))
	}
	stop := keepBusy(t, conns...)
	set("ulimit -n 80;") // of which the new process needs some twenty itself
	u.takeOver(t)
	moved := u.takeovers(t)[0]
	if moved[2] == "0" || moved[2] == fmt.Sprint(len(conns)) {
		t.Errorf("%s sessions have moved, want some of %d", moved[2], len(conns))
	}
	stop() // without an error: all sessions go on
}

// If descriptors are scarce in the old process, it moves its sessions in small batches, or the
// upgrade is refused; afterwards all sessions are served.
func TestUpgradeWithoutSpareDescriptors(t *testing.T) {
	t.Parallel()
	path, set := programs(t)
	front := "unix:" + filepath.Join(t.TempDir(), "nothing") // the site of the domain would take sockets to a resolver
	for _, spare := range []int{0, 1, 2, 3, 5, 8, 12} {
		t.Run(fmt.Sprint(spare), func(t *testing.T) {
			set("")
			u := startUpgraded(t, func(cmd *exec.Cmd) {
				cmd.Path = path
				patient(cmd)
			}, "--probe=false", "--front", front)
			var conns []*mtwire.Conn
			for i := range 12 {
				conns = append(conns, u.join(t, upgradeModes[i%len(upgradeModes)]))
			}
			u.leaveDescriptors(t, spare)
			set("ulimit -n 1000;")
			stop := keepBusy(t, conns...)
			syscall.Kill(u.current, syscall.SIGUSR2)
			eventually(t, "a result", func() bool {
				return contains(u.log, "the upgrade has failed") || len(u.takeovers(t)) > 0
			})
			stop()
			failed := strings.Contains(readAll(t, u.log), "the upgrade has failed")
			if spare == 12 && failed {
				t.Error(readAll(t, u.log))
			}
			if spare > 1 || !failed { // otherwise there is none for a client and its data centre
				u.join(t, upgradeModes[0])
			}
		})
	}
}

// leaveDescriptors limits the descriptors of the current process, which has served a client, to
// those that it has and as many as spare. The limit is one on numbers: those beyond it, which it
// may have inherited, do not count.
func (u *upgraded) leaveDescriptors(t *testing.T, spare int) {
	t.Helper()
	var used map[int]string
	eventually(t, "the log of handshakes", func() bool { // which is opened a moment after the first, and stays open
		used = descriptors(t, u.current)
		return slices.ContainsFunc(slices.Collect(maps.Values(used)), func(file string) bool { return strings.Contains(file, "/replay/replay1-") })
	})
	limit := 0
	for ; spare > 0 || used[limit] != ""; limit++ {
		if used[limit] == "" {
			spare--
		}
	}
	if text, err := exec.Command("prlimit", "--nofile="+fmt.Sprint(limit), "--pid", fmt.Sprint(u.current)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// descriptors returns what a process has open, by number.
func descriptors(t *testing.T, pid int) map[int]string {
	t.Helper()
	entries, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(entries) == 0 {
		t.Fatal("no descriptors are found", err)
	}
	all := make(map[int]string)
	for _, path := range entries {
		number, _ := strconv.Atoi(filepath.Base(path))
		if file, err := os.Readlink(path); err == nil { // it may have been closed meanwhile
			all[number] = file
		}
	}
	return all
}
