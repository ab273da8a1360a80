package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// leftFiles returns the names of the files that processes have left in dir.
func leftFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, leftPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What a process has counted that never had the store is added by the one that has it, once,
// also if that cannot be written at first.
func TestLeftCountsAreAddedOnce(t *testing.T) {
	dir := t.TempDir()
	first, counted := opened(t, dir, Options{})
	counted.add("alice", 100, 0)
	flushed(t, first)
	for range 2 { // third processes see what the second has left
		second, source := opened(t, dir, Options{})
		counted.add("alice", 10, 0)
		source.add("alice", 1, 0)
		source.add("bob", 5, 0)
		closed(t, second)
	}
	if n := len(leftFiles(t, dir)); n != 2 {
		t.Fatalf("%d files, want 2", n)
	}
	write := first.replace
	first.replace = func(string, string, []byte) error { return errors.New("the disk is full") }
	for range 2 {
		if first.Flush() == nil {
			t.Error("a write that fails is not reported")
		}
	}
	first.replace = write
	for range 2 {
		flushed(t, first)
		if all := counted.Counters(nil); up(all, "alice") != 122 || up(all, "bob") != 10 {
			t.Errorf("%+v", all)
		}
	}
	if left := leftFiles(t, dir); len(left) > 0 {
		t.Errorf("%v are still there", left)
	}
	closed(t, first)
	if last, _ := opened(t, dir, Options{}); up(last.Counters(), "alice") != 122 || up(last.Counters(), "bob") != 10 {
		t.Errorf("%+v", last.Counters())
	}
}

// A process that has counted nothing leaves nothing. A file that is damaged is set aside, and
// one that is being written is not read.
func TestLeftFilesThatSayNothing(t *testing.T) {
	dir := t.TempDir()
	first, counted := opened(t, dir, Options{})
	counted.add("alice", 100, 0)
	flushed(t, first)
	second, _ := opened(t, dir, Options{})
	counted.add("alice", 1, 0)
	flushed(t, first)
	closed(t, second)
	if left := leftFiles(t, dir); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	for _, name := range []string{leftPrefix + "A", leftPrefix + "B" + newSuffix} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mtwire"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flushed(t, first)
	if damaged := first.Status().Damaged; len(damaged) != 1 || damaged[0] != leftPrefix+"A.damaged1" {
		t.Errorf("%v are damaged", damaged)
	}
	if all := counted.Counters(nil); up(all, "alice") != 101 {
		t.Errorf("%+v", all)
	}
}

// What was left is not there any more once it is in the usage file, also while the file of a
// day that has ended cannot be written: the next process would add it again.
func TestLeftCountsOfADayThatDoesNotEnd(t *testing.T) {
	dir := t.TempDir()
	now := &clock{date("2026-11-28")}
	first, counted := opened(t, dir, Options{Time: now.now})
	counted.add("alice", 100, 0)
	flushed(t, first)
	second, source := opened(t, dir, Options{Time: now.now})
	source.add("alice", 1, 0)
	closed(t, second)
	if err := os.Mkdir(filepath.Join(dir, dayPrefix+first.day.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	now.at = date("2026-11-29")
	if first.Close() == nil {
		t.Error("a day that does not end is not reported")
	}
	last, source := opened(t, dir, Options{Time: now.now})
	last.Flush()
	if n := up(source.Counters(nil), "alice"); n != 101 {
		t.Errorf("%d bytes, want 101", n)
	}
}
