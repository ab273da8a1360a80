package main

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/service/store"
)

// A process that is replaced before it has taken the store over from the one before loses
// nothing of what its users have moved.
func TestUpgradesInQuickSuccessionKeepTheUsage(t *testing.T) {
	t.Parallel()
	u := startUpgraded(t, patient, "--probe=false")
	conn := u.join(t, upgradeModes[0])
	const size, upgrades = 100_000, 3
	for range upgrades {
		if err := echoOnce(conn, size); err != nil {
			t.Fatal(err)
		}
		u.upgrade(t)
	}
	if err := echoOnce(conn, size); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	syscall.Kill(u.current, syscall.SIGTERM)
	eventually(t, "the end", func() bool { return !isAlive(u.current) })
	if up := storedUp(t, u); up < (upgrades+1)*size || up > (upgrades+1)*size+4096 || up != loggedUp(t, u) {
		t.Errorf("the store has %d bytes up and the log %d, and %d packets of %d bytes were sent", up, loggedUp(t, u), upgrades+1, size)
	}
}

// isAlive reports whether a process has not ended.
func isAlive(pid int) bool { return syscall.Kill(pid, 0) == nil && !isZombie(pid) }

// storedUp returns the bytes that all users have sent, as the state directory has them.
func storedUp(t *testing.T, u *upgraded) (up int64) {
	for _, entry := range u.Env {
		dir, ok := strings.CutPrefix(entry, "STATE_DIRECTORY=")
		if !ok {
			continue
		}
		s := store.Open(filepath.Join(dir, "store"), store.Options{})
		defer s.Close()
		up = 0 // of the last entry
		for _, c := range s.Counters() {
			up += c.Up
		}
	}
	return up
}

var closedUp = regexp.MustCompile(`msg=closed .* up=(\d+) `)

// loggedUp returns the bytes that all sessions have sent, as their last lines in the log have them.
func loggedUp(t *testing.T, u *upgraded) (up int64) {
	for _, line := range closedUp.FindAllStringSubmatch(readAll(t, u.log), -1) {
		n, _ := strconv.ParseInt(line[1], 10, 64)
		up += n
	}
	return up
}

// So does one that ends while an earlier one still drains, and has the store.
func TestUpgradesWhileOneDrainsKeepTheUsage(t *testing.T) {
	t.Parallel()
	u := startUpgraded(t, patient, append(stayingFlags(t), "--drain", "60s")...)
	moves, stays := u.join(t, upgradeModes[0]), u.join(t, upgradeModes[0])
	const size, upgrades = 100_000, 3
	busy := keepBusy(t, stays) // the first process closes it otherwise
	first := u.takeOver(t)
	for i := range upgrades {
		if err := echoOnce(moves, size); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			u.upgrade(t)
		}
	}
	packets := busy()
	stays.Close()
	eventually(t, "the end of the first process", func() bool { return !isAlive(first) })
	moves.Close()
	syscall.Kill(u.current, syscall.SIGTERM)
	eventually(t, "the end", func() bool { return !isAlive(u.current) })
	least, most := int64(upgrades*size+packets*busyLength), int64(upgrades*(size+4096)+packets*busyBytes)
	if up := storedUp(t, u); up < least || up > most || up != loggedUp(t, u) {
		t.Errorf("the store has %d bytes up, and the log %d, want %d to %d", up, loggedUp(t, u), least, most)
	}
}
