package service

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// The watchdog is notified twice in its time by the process that it waits for, and by one
// that takes over from that.
func TestWatchdogInterval(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		limit, pid string
		takesOver  bool
		want       time.Duration
	}{
		{"", "", false, 0},
		{"0", own, false, 0},
		{"many", own, false, 0},
		{"30000000", own, false, 15 * time.Second},
		{"30000000", "", false, 15 * time.Second},
		{"30000000", "1", false, 0},
		{"30000000", "1", true, 15 * time.Second},
	} {
		t.Setenv(watchdogVariable, test.limit)
		t.Setenv(watchdogPIDVariable, test.pid)
		if got := watchdogInterval(test.takesOver); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// A kept socket has a name that systemd takes, another one for each address, and does not
// count as one of a socket unit.
func TestNamesOfStoredListeners(t *testing.T) {
	seen := make(map[string]bool)
	for _, address := range []string{":443", ":8443", "127.0.0.1:443", "[::1]:443", "unix:/run/mtwire/clients"} {
		name := storedName(address)
		if seen[name] || !isStoredName(name) || len(name) > 255 {
			t.Errorf("%s: %s", address, name)
		}
		seen[name] = true
	}
	if isStoredName("mtwire-443.socket") || isStoredName("unknown") {
		t.Error("the socket of a unit counts as one that was kept")
	}
}
