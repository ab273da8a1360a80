package replay

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A memory that is opened again has what was in it, and nothing else. Its files are
// for their owner alone.
func TestIDsAreKeptAcrossARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "replay")
	const runs, perRun = 4, 3000 // several batches
	for run := range runs {
		m := open(t, dir, Options{})
		stop := start(t, m)
		for n := range (run + 1) * perRun {
			if seen := m.Seen(idOf(n)); seen != (n < run*perRun) {
				t.Fatalf("run %d: %d was seen: %v", run, n, seen)
			}
		}
		stop()
		closed(t, m)
	}
	logs := logsIn(t, dir)
	var total int64
	for _, size := range logs {
		total += size
	}
	if total != runs*perRun*recordLength || len(logs) > 2 {
		t.Errorf("%d bytes in %v", total, logs)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for name := range logs {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", dir, info.Mode(), err)
	}
}

// Without Run, Close writes; it may be called again. Afterwards Seen works in memory.
func TestCloseWritesTheRest(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	m.Seen(idOf(1))
	closed(t, m)
	closed(t, m)
	if m.Seen(idOf(2)) || !m.Seen(idOf(2)) || !m.Seen(idOf(1)) {
		t.Error("Seen does not work after Close")
	}
	if len(m.pending) > 0 {
		t.Error("an id waits to be written after Close")
	}
	if m := open(t, dir, Options{}); !remembers(m, 1) || remembers(m, 2) {
		t.Error("1 was not written, or 2 was")
	}
}

// Close ends Run, which returns nil then, and otherwise its context's error.
func TestCloseEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, t.TempDir(), Options{})
		running := make(chan error, 1)
		go func() { running <- m.Run(t.Context()) }()
		synctest.Wait()
		closed(t, m)
		if err := <-running; err != nil {
			t.Error(err)
		}
		if err := m.Run(t.Context()); err != nil {
			t.Errorf("Run after Close: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, m := range []*Memory{New(Options{}), open(t, t.TempDir(), Options{})} {
			if err := m.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			closed(t, m)
		}
	})
}

// An id is in the log 100 ms after Seen, in one write with the others of that time.
func TestRunWritesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		m := open(t, dir, Options{})
		stop := start(t, m)
		for n := range 100 {
			m.Seen(idOf(n))
			synctest.Wait()
			time.Sleep(writeInterval / 200)
		}
		if logs := logsIn(t, dir); len(logs) > 0 {
			t.Errorf("written at once: %v", logs)
		}
		time.Sleep(writeInterval)
		synctest.Wait()
		if sizes := slices.Collect(maps.Values(logsIn(t, dir))); !slices.Equal(sizes, []int64{100 * recordLength}) {
			t.Errorf("%v bytes were written", sizes)
		}
		if !unsynced(m) {
			t.Error("fsync was called for each write")
		}
		time.Sleep(syncInterval + pollInterval)
		synctest.Wait()
		if unsynced(m) {
			t.Error("fsync was not called in time")
		}
		stop()
		closed(t, m)
	})
}

// unsynced reports whether there are bytes that fsync was not called for. Run must
// be waiting; its next poll locks m.mu.
func unsynced(m *Memory) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.disk.logs.unsynced
}

// A log that a crash of the machine has cut off at any byte, or in which it has
// flipped any bit, has the other ids, and is appended to.
func TestAMemoryOpensAfterACrash(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	for n := range 4 {
		m.Seen(idOf(n))
	}
	closed(t, m)
	name := slices.Collect(maps.Keys(logsIn(t, dir)))[0]
	whole, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	check := func(b []byte, lost ...int) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time with what the first appended
			m := open(t, dir, Options{})
			for n := range 4 {
				if remembers(m, n) == slices.Contains(lost, n) {
					t.Fatalf("%d bytes without %v: %d is remembered: %v", len(b), lost, n, remembers(m, n))
				}
			}
			for _, n := range lost {
				m.Seen(idOf(n))
			}
			closed(t, m)
			lost = nil
		}
	}
	for length := range len(whole) + 1 {
		lost := []int{0, 1, 2, 3}[length/recordLength:]
		check(whole[:length], lost...)
	}
	for bit := range 8 * len(whole) {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		check(b, bit/8/recordLength)
	}
}

// A process that is killed has lost nothing but its last moments, and a process
// that is started beside it learns what it goes on to see.
func TestProcessesShareADirectory(t *testing.T) {
	dir := t.TempDir()
	oldSeen, killOld := startProcess(t, dir)
	for n := range 100 {
		if oldSeen(n) {
			t.Fatalf("%d is new", n)
		}
	}
	var written int64
	eventually(t, "the ids are written", func() bool {
		written = 0
		for _, size := range logsIn(t, dir) {
			written += size
		}
		return written == 100*recordLength
	})
	m := open(t, dir, Options{})
	start(t, m)
	for n := range 100 {
		if !m.Seen(idOf(n)) {
			t.Fatalf("%d was written before this process began", n)
		}
	}
	for n := 100; n < 200; n++ {
		oldSeen(n)
		m.Seen(idOf(1000 + n))
	}
	eventually(t, "this process knows the other's ids", func() bool { return remembers(m, 150) && remembers(m, 199) })
	eventually(t, "the other knows this one's", func() bool { return oldSeen(1150) })
	killOld()
	closed(t, m)
	m = open(t, dir, Options{})
	for _, n := range []int{0, 99, 100, 199, 1100, 1199} {
		if !remembers(m, n) {
			t.Errorf("%d is lost", n)
		}
	}
}

// Processes that append to the same logs at the same time lose nothing, also where
// one log is full and the next begins. They write a hundred ids each, at the same moment
// of the bubble's time, so the number of logs does not depend on the machine's speed.
func TestAppendsDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const processes, ids = 4, 4000
		options := Options{Entries: processes * ids * 2} // so that a log has 2000 records
		var running sync.WaitGroup
		for p := range processes {
			m := open(t, dir, options)
			stop := start(t, m)
			running.Go(func() {
				for n := range ids {
					m.Seen(idOf(p*ids + n))
					if n%100 == 99 {
						time.Sleep(writeInterval + time.Millisecond)
					}
				}
				stop()
				closed(t, m)
			})
		}
		running.Wait()
		m := open(t, dir, options)
		for n := range processes * ids {
			if !remembers(m, n) {
				t.Fatalf("%d is lost", n)
			}
		}
		if logs := logsIn(t, dir); len(logs) < processes*ids/2000-1 {
			t.Errorf("%v", logs)
		}
	})
}

// Logs are bounded like the memory, and the oldest go first.
func TestLogsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const entries = 1600
		m := open(t, dir, Options{Entries: entries})
		stop := start(t, m)
		for n := range 4 * entries {
			m.Seen(idOf(n))
			time.Sleep(100 * time.Millisecond)
			if n%100 > 0 {
				continue
			}
			synctest.Wait()
			var total int64
			for _, size := range logsIn(t, dir) {
				total += size
			}
			// Within a second before they are removed there may be ten more.
			if total > (entries+10)*recordLength {
				t.Fatalf("%d ids: %d bytes in %v", n, total, logsIn(t, dir))
			}
		}
		stop()
		closed(t, m)
		m = open(t, dir, Options{Entries: entries})
		if last := 4*entries - 1; !remembers(m, last) || !remembers(m, last-entries*7/8) || remembers(m, last-entries) {
			t.Error("not the latest ids are remembered")
		}
	})
}

// A memory with fewer entries than the logs have takes the latest.
func TestFewerEntriesThanBefore(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Entries: 1600})
	for n := range 1600 {
		m.Seen(idOf(n))
	}
	closed(t, m)
	m = open(t, dir, Options{Entries: 320})
	if m.entries > 320 || m.entries < 200 || !remembers(m, 1599) || remembers(m, 1000) {
		t.Errorf("%d entries", m.entries)
	}
}

// Other files in the directory are left alone, and files that only have a log's
// name do no harm, whatever their size.
func TestOtherFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"secret", "replay1-", "replay1-1-", "replay1-01-0", "replay1-1-0.bak", "replay1--1-0", "replay1-1-99999999999", "replay2-1-0"} {
		if err := os.WriteFile(filepath.Join(dir, name), logOf(1), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-10 * DefaultWindow)
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "replay1-1-0"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := logsIn(t, dir)
	// A file of a terabyte, all of it a hole, is not read.
	huge := filepath.Join(dir, "replay1-2-0")
	if err := os.WriteFile(huge, logOf(2), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	m := open(t, dir, Options{})
	if m.entries != 0 {
		t.Errorf("%d ids were read", m.entries)
	}
	closed(t, m)
	if after := logsIn(t, dir); !maps.Equal(before, after) {
		t.Errorf("%v, before %v", after, before)
	}
}

// Open fails if there is nothing that could be a directory.
func TestOpenNeedsADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if m, err := Open(dir, Options{}); err == nil {
			t.Errorf("%q: %v", dir, m)
		}
	}
}
