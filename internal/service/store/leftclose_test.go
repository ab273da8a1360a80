package store

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
)

// hooked is a source that calls merged when the store adds what another process has counted.
type hooked struct {
	*counting
	merged func()
}

func (h *hooked) Merge(from, to []users.Counter) {
	h.counting.Merge(from, to)
	h.merged()
}

// What a process has counted is in the usage file or in a file that it leaves, and never in
// both: between the attempt to write the usage file and the other file no write of Run, after
// the end of the process that had the store, comes in between.
func TestCountsAreWrittenOrLeft(t *testing.T) {
	dir := t.TempDir()
	first, _ := opened(t, dir, Options{})
	flushed(t, first)
	for range 1000 {
		second, source := opened(t, dir, Options{})
		source.add("alice", 1, 0)
		var over, between atomic.Bool
		var running sync.WaitGroup
		second.source = &hooked{source, func() {
			tries := make(chan struct{})
			running.Go(func() { // as Run
				close(tries)
				for !over.Load() {
					if second.mu.TryLock() {
						between.Store(between.Load() || !over.Load())
						second.mu.Unlock()
					}
				}
			})
			<-tries
		}}
		second.replace = func(string, string, []byte) error {
			over.Store(true)
			return nil
		}
		closed(t, second)
		running.Wait()
		if between.Load() {
			t.Fatal("the store can be written between the attempt and the file that is left")
		}
	}
}

// What a process has left is added once, also if the one that has the store is killed after it
// has written it, and before it has removed the file.
func TestLeftCountsAreAddedOnceOverACrash(t *testing.T) {
	dir, left := t.TempDir(), t.TempDir()
	first, _ := opened(t, dir, Options{})
	flushed(t, first)
	for _, name := range []string{"alice", "bob"} {
		second, source := opened(t, dir, Options{})
		source.add(name, 10, 0)
		closed(t, second)
	}
	for _, path := range leftFiles(t, dir) {
		copyFile(t, path, filepath.Join(left, filepath.Base(path)))
	}
	crashed := func() { // the files are still there
		for _, path := range leftFiles(t, left) {
			copyFile(t, path, filepath.Join(dir, filepath.Base(path)))
		}
	}
	flushed(t, first)
	closed(t, first)
	for i := range 3 {
		crashed()
		next, source := opened(t, dir, Options{})
		source.add("carol", 1, 0) // the usage file is written again, without a word of what is added already
		flushed(t, next)
		if all := source.Counters(nil); up(all, "alice") != 10 || up(all, "bob") != 10 || up(all, "carol") != int64(i+1) {
			t.Errorf("crash %d: %+v", i, all)
		}
		if i == 0 {
			crashed() // before the removal, of a process that has found them in the usage file
		}
		if i > 0 {
			if names := leftFiles(t, dir); len(names) > 0 {
				t.Errorf("%v are still there", names)
			}
		}
		closed(t, next)
	}
}

// The usage file names what it has of other processes, which is no change of its counters. A
// program that does not know of that has a removed user without usage, and drops it.
func TestTheUsageFileNamesWhatItHas(t *testing.T) {
	u := &usage{counters: []users.Counter{{Name: "alice", Up: 1}}, left: make([]string, maxLeft)}
	for i := range u.left {
		u.left[i] = rand.Text()
	}
	payload, sum := appendUsage(nil, u)
	again, err := parseUsage(payload)
	if err != nil || len(again.counters) != 1 || !slices.Equal(again.left, u.left) {
		t.Fatalf("%+v, %v", again, err)
	}
	u.left = nil
	if _, without := appendUsage(nil, u); without != sum {
		t.Error("the names are a change of the counters")
	}
	p := users.New(users.Config{})
	p.Restore([]users.Counter{{Name: leftRecord, Schedule: strings.Join(again.left, " ")}})
	if p.Set(nil); len(p.Counters(nil)) > 0 {
		t.Errorf("%+v", p.Counters(nil))
	}
}

// Files that a process has begun to leave when it was killed are removed by the next one that
// has the store. A process that leaves its counts at that moment leaves them all the same.
func TestBegunLeftFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, leftPrefix+"A"+newSuffix, []byte("mtwire"))
	first, counted := opened(t, dir, Options{})
	flushed(t, first)
	if names := leftFiles(t, dir); len(names) > 0 {
		t.Errorf("%v are there", names)
	}
	second, source := opened(t, dir, Options{})
	source.add("alice", 1, 0)
	replace, attempts := second.replace, 0
	second.replace = func(dir, name string, b []byte) error {
		if attempts++; attempts == 1 { // the file was removed before it had its name
			return &os.PathError{Op: "rename", Path: name, Err: os.ErrNotExist}
		}
		return replace(dir, name, b)
	}
	closed(t, second)
	flushed(t, first)
	if n := up(counted.Counters(nil), "alice"); n != 1 {
		t.Errorf("%d bytes, want 1", n)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
