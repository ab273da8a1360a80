//go:build unix

package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// manyUsers is how many users a configuration file must be able to have.
const manyUsers = 100_000

// writeManyUsers writes a configuration with n users that have limits. first is in front.
func writeManyUsers(t *testing.T, path, first string, n int) {
	t.Helper()
	var out strings.Builder
	out.WriteString(first)
	for i := range n {
		fmt.Fprintf(&out, "[[user]]\nname = \"user-%d\"\nsecret = \"dd%032x\"\nmax_connections = 100\nmax_addresses = 3\nquota = \"100 GiB\"\nquota_period = \"month\"\nrate_down = \"1 MiB\"\ntime_zone = \"Europe/Berlin\"\n\n", i, int64(i)+1<<32)
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// processorTime returns what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A configuration file with 100,000 users is a proxy within 2 seconds of processor time,
// and its users, with limits, counters and the index for the search, take at most 100 MiB
// beside the decoded file, which the service keeps.
func TestManyUsersLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mtwire.toml")
	writeManyUsers(t, path, "state = \"state\"\n", manyUsers)
	before, began := heap(), processorTime(t)
	c, _, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	took := processorTime(t) - began
	decoded := heap() - before
	began = processorTime(t)
	s, err := New(c, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	took += processorTime(t) - began
	kept := heap() - before
	t.Logf("%v of processor time; %d MiB, of which the file takes %d", took, kept>>20, decoded>>20)
	if n := len(s.proxy.Users()); n != manyUsers {
		t.Errorf("%d users", n)
	}
	if kept-decoded > 100<<20 || decoded > 32<<20 {
		t.Errorf("they take %d MiB, and the file %d", (kept-decoded)>>20, decoded>>20)
	}
	if took > 2*time.Second && !raceEnabled {
		t.Errorf("loading took %v of processor time", took)
	}
}

// While 100,000 users are replaced, clients are served: a handshake begins and ends within
// one reload.
func TestReplacingManyUsersHoldsUpNoHandshake(t *testing.T) {
	dir := t.TempDir()
	r := run(t, func(c *Config) { c.State, c.Probe = filepath.Join(dir, "state"), false })
	first := fmt.Sprintf("secret = [\"alice=%s\"]\n", mtwiretest.PlainSecret)
	paths := []string{filepath.Join(dir, "a.toml"), filepath.Join(dir, "b.toml")}
	for i, path := range paths { // which have other users
		writeManyUsers(t, path, first, manyUsers-i)
	}
	var reload atomic.Int64 // odd while one runs
	ended := make(chan struct{})
	var failed error
	link, listen, dc := linksOf(r.Service)[0].String(), r.config.Listen, r.config.DataCenters
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		for n := 0; ctx.Err() == nil && failed == nil; n++ {
			c, _, err := LoadFile(paths[n%2])
			if err == nil {
				c.State, c.DataCenters, c.Listen, c.Probe = filepath.Join(dir, "state"), dc, listen, false
				reload.Add(1)
				_, err = r.Reconfigure(c)
				reload.Add(1)
			}
			failed = err
		}
	}()
	served := 0
	for deadline := time.Now().Add(2 * time.Minute); served < 3; {
		before := reload.Load()
		conn, err := mtwire.Dial(t.Context(), link, nil)
		if err != nil {
			t.Fatal(err)
		}
		receive(t, conn)
		after := reload.Load()
		conn.Close()
		if before == after && before%2 == 1 {
			served++
		}
		if time.Now().After(deadline) {
			t.Error("no client was served during a reload")
			break
		}
	}
	stop()
	<-ended
	if failed != nil {
		t.Error(failed)
	}
}
