package replay

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// errorLog collects what DiskError is called with.
type errorLog struct {
	mu   sync.Mutex
	errs []error
	at   []time.Time
}

func (l *errorLog) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs, l.at = append(l.errs, err), append(l.at, time.Now())
}

func (l *errorLog) take() (errs []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs, l.errs = l.errs, nil
	return errs
}

// fillDisk makes every log of the next hours a device that is full, and returns a
// function that undoes it.
func fillDisk(t *testing.T, m *Memory) (undo func()) {
	t.Helper()
	l := m.disk.logs
	unit := int64(l.logTime / time.Second)
	var links []string
	for i := range int64(10) {
		link := filepath.Join(l.dir, logName((l.wall().Unix()/unit+i)*unit, "0"))
		if err := os.Symlink("/dev/full", link); err != nil {
			t.Fatal(err)
		}
		links = append(links, link)
	}
	return func() {
		for _, link := range links {
			if err := os.Remove(link); err != nil {
				t.Error(err)
			}
		}
	}
}

// While the disk is full, ids are remembered, errors are reported once a minute,
// and what waits for the disk is bounded. When there is room again it is written.
func TestAFullDiskStopsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, clock *wallClock) {
		dir := t.TempDir()
		var reported errorLog
		options := Options{Time: clock.now, DiskError: reported.add}
		m := open(t, dir, options)
		undo := fillDisk(t, m)
		stop := start(t, m)
		const ids = maxPending + 5000
		for n := range ids {
			if m.Seen(idOf(n)) {
				t.Fatalf("%d is new", n)
			}
			if n%1000 == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(5*time.Minute - ids/1000*time.Second)
		synctest.Wait()
		for n := range ids {
			if !m.Seen(idOf(n)) {
				t.Fatalf("%d is forgotten", n)
			}
		}
		m.mu.Lock()
		if len(m.pending) != maxPending || cap(m.pending) > 2*maxPending {
			t.Errorf("%d ids wait, in room for %d", len(m.pending), cap(m.pending))
		}
		m.mu.Unlock()
		lost := false
		for i, err := range reported.take() {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Error(err)
			}
			lost = lost || strings.Contains(err.Error(), "5000 handshakes")
			if i > 0 && reported.at[i].Sub(reported.at[i-1]) < time.Minute {
				t.Errorf("errors after %v", reported.at[i].Sub(reported.at[i-1]))
			}
		}
		if n := len(reported.at); n < 5 || !lost {
			t.Errorf("%d errors in five minutes; the lost ids are reported: %v", n, lost)
		}
		undo()
		time.Sleep(2 * pollInterval)
		synctest.Wait()
		m.Seen(idOf(ids))
		stop()
		closed(t, m)
		m = open(t, dir, options)
		for _, n := range []int{0, 1, maxPending - 1, ids} {
			if !remembers(m, n) {
				t.Errorf("%d was not written when there was room again", n)
			}
		}
		if len(m.slices) > 2 || m.entries != maxPending+1 {
			t.Errorf("%d entries", m.entries)
		}
	})
}

// Close returns the error if the rest cannot be written.
func TestCloseReturnsTheDisksError(t *testing.T) {
	m := open(t, t.TempDir(), Options{DiskError: func(error) {}})
	fillDisk(t, m)
	m.Seen(idOf(1))
	if err := m.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

// A directory in which no files can be made is read, and reported: /sys is one for
// root as well.
func TestAReadOnlyDirectoryIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, clock *wallClock) {
		var reported errorLog
		m := open(t, "/sys", Options{Time: clock.now, DiskError: reported.add})
		stop := start(t, m)
		if m.Seen(idOf(1)) || !m.Seen(idOf(1)) {
			t.Error("the memory does not work")
		}
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if errs := reported.take(); len(errs) != 2 || !errors.Is(errs[0], fs.ErrPermission) && !errors.Is(errs[0], syscall.EROFS) {
			t.Error(errs)
		}
		stop()
	})
}

// A log that is removed under a process, by another or by the operator, is made
// again, and a directory that disappears is reported.
func TestRemovedLogsAreMadeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, clock *wallClock) {
		dir := filepath.Join(t.TempDir(), "replay")
		var reported errorLog
		m := open(t, dir, Options{Time: clock.now, DiskError: reported.add})
		stop := start(t, m)
		for n := range 3 {
			m.Seen(idOf(n))
			time.Sleep(writeInterval + pollInterval)
			synctest.Wait()
			logs := logsIn(t, dir)
			if len(logs) != 1 {
				t.Errorf("%v", logs)
			}
			for name := range logs {
				os.Remove(filepath.Join(dir, name))
			}
			time.Sleep(pollInterval)
			synctest.Wait()
		}
		if errs := reported.take(); len(errs) > 0 {
			t.Error(errs)
		}
		os.RemoveAll(dir)
		m.Seen(idOf(4))
		time.Sleep(2 * pollInterval)
		synctest.Wait()
		if errs := reported.take(); len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
			t.Error(errs)
		}
		if !m.Seen(idOf(0)) || !m.Seen(idOf(4)) {
			t.Error("forgotten")
		}
		stop()
	})
}

// A log that cannot be read is reported; the others are used.
func TestALogThatCannotBeReadIsReported(t *testing.T) {
	// Every user may enter it, unlike a test's own.
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"replay1-1-0": 0, "replay1-1-1": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), logOf(int(mode)), mode); err != nil {
			t.Fatal(err)
		}
	}
	var reported errorLog
	var m *Memory
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Root may read everything, and this thread now is not root's. It ends with
		// the goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			syscall.Setfsuid(65534)
		}
		m = open(t, dir, Options{DiskError: reported.add})
	}()
	<-done
	if errs := reported.take(); !remembers(m, 0o644) || m.entries != 1 || len(errs) != 1 || !errors.Is(errs[0], fs.ErrPermission) {
		t.Errorf("%d entries, %v", m.entries, errs)
	}
}
