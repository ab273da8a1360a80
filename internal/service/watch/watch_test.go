package watch

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a directory with a file, which is watched. The clock is that of a bubble.
type watched struct {
	*Files
	t    *testing.T
	dir  string
	file string

	mu    sync.Mutex
	read  []string // what the file had each time that it was read
	paths []string // those that had changed
}

// inBubble runs test with a file that is watched, and has been for a while.
func inBubble(t *testing.T, test func(w *watched)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{Files: &Files{}, t: t, dir: dir, file: filepath.Join(dir, "file")}
		w.write(w.file, "first")
		w.Reading(w.file)
		ctx, cancel := context.WithCancel(t.Context())
		go w.Run(ctx, func(path string) {
			w.Reading(path)
			b, _ := os.ReadFile(w.file)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.read, w.paths = append(w.read, string(b)), append(w.paths, path)
		})
		time.Sleep(1500 * time.Millisecond)
		test(w)
		cancel()
		synctest.Wait()
	})
}

func (w *watched) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// seen returns what the file had each time that it was read, and the paths that had changed.
func (w *watched) seen() (read, paths []string) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read, w.paths
}

// wantRead lets time pass and checks what the file had each time that it was read since
// the start.
func (w *watched) wantRead(after time.Duration, want ...string) {
	w.t.Helper()
	time.Sleep(after)
	if read, _ := w.seen(); !slices.Equal(read, want) {
		w.t.Errorf("read %q, want %q", read, want)
	}
}

// A file that is written, in place or by a rename, is read once, within a second and a
// quarter. Many writes in a row are one change.
func TestChangesAreReadOnce(t *testing.T) {
	inBubble(t, func(w *watched) {
		w.write(w.file, "in place")
		w.wantRead(1300*time.Millisecond, "in place")
		w.write(w.file+".new", "renamed")
		w.do(os.Rename(w.file+".new", w.file))
		w.wantRead(1300*time.Millisecond, "in place", "renamed")
		for range 100 {
			w.write(w.file, "one of many")
			w.write(w.file, "the last of many")
			time.Sleep(time.Millisecond)
		}
		w.wantRead(10*time.Second, "in place", "renamed", "the last of many")
	})
}

// A file with the same contents is not read, whatever else about it has changed.
func TestTheSameContentsAreNoChange(t *testing.T) {
	inBubble(t, func(w *watched) {
		w.do(os.Chtimes(w.file, time.Now(), time.Now()))
		w.wantRead(3 * time.Second)
		w.write(w.file+".new", "first")
		w.do(os.Rename(w.file+".new", w.file))
		w.wantRead(3 * time.Second)
		w.do(os.Chmod(w.file, 0o644))
		w.wantRead(3 * time.Second)
		w.write(w.file, "other")
		time.Sleep(100 * time.Millisecond)
		w.write(w.file, "first")
		w.wantRead(3 * time.Second)
	})
}

// A file that is being written is not read before it has been quiet, but after two seconds
// in any case. What is written later is read as well.
func TestAFileIsReadWhenItIsQuiet(t *testing.T) {
	inBubble(t, func(w *watched) {
		text := ""
		for range 8 {
			text += "slowly "
			w.write(w.file, text)
			time.Sleep(150 * time.Millisecond)
		}
		w.wantRead(time.Second, text)
		for range 30 { // it never is
			text += "slowly "
			w.write(w.file, text)
			time.Sleep(150 * time.Millisecond)
		}
		read, _ := w.seen()
		if n := len(read); n != 2 && n != 3 {
			t.Errorf("read %d times in 4.5 seconds", n-1)
		}
		time.Sleep(4 * time.Second)
		read, _ = w.seen()
		if last := read[len(read)-1]; last != text {
			t.Errorf("%d bytes were read last, of %d", len(last), len(text))
		}
	})
}

// A writer in place that pauses behind a prefix of what was there is awaited.
func TestAFileThatHasShrunkIsReadLater(t *testing.T) {
	inBubble(t, func(w *watched) {
		w.write(w.file, "fir")
		w.wantRead(1400 * time.Millisecond) // a look, and longer than other changes need
		w.write(w.file, "first and more")
		w.wantRead(2*time.Second, "first and more")
		w.write(w.file, "shorter")
		w.wantRead(3*time.Second, "first and more", "shorter")
	})
}

// A file that is missing or empty for a moment is not read, unless it has changed. If it
// stays away, that is a change, and so is its return.
func TestAFileMayBeMissingForAMoment(t *testing.T) {
	inBubble(t, func(w *watched) {
		for _, moment := range []time.Duration{300 * time.Millisecond, 1800 * time.Millisecond} {
			w.do(os.Remove(w.file))
			time.Sleep(moment)
			w.write(w.file, "first")
			w.wantRead(5 * time.Second)
		}
		w.write(w.file, "") // as an editor does that writes in place
		time.Sleep(1200 * time.Millisecond)
		w.write(w.file, "first")
		w.wantRead(5 * time.Second)
		w.do(os.Remove(w.file))
		w.wantRead(5*time.Second, "")
		w.wantRead(time.Minute, "")
		w.write(w.file, "first")
		w.wantRead(5*time.Second, "", "first")
	})
}

// A directory whose symbolic link is replaced, as Kubernetes does with a ConfigMap, is a
// change of the files in it, and of a link to a link.
func TestSymbolicLinksAreFollowed(t *testing.T) {
	inBubble(t, func(w *watched) {
		link := filepath.Join(w.dir, "..data")
		version := func(name, text string) {
			w.do(os.Mkdir(filepath.Join(w.dir, name), 0o700))
			w.write(filepath.Join(w.dir, name, "file"), text)
			w.do(os.Symlink(name, link+"_tmp"))
			w.do(os.Rename(link+"_tmp", link))
		}
		version("..1", "first")
		w.do(os.Remove(w.file))
		w.do(os.Symlink(filepath.Join("..data", "file"), w.file))
		w.wantRead(3 * time.Second)
		version("..2", "second")
		w.do(os.RemoveAll(filepath.Join(w.dir, "..1")))
		w.wantRead(3*time.Second, "second")
		version("..3", "second")
		w.wantRead(3*time.Second, "second")
	})
}

// A file may be in a directory that does not exist yet. Files that are not kept are not
// looked at.
func TestFilesComeAndGo(t *testing.T) {
	inBubble(t, func(w *watched) {
		later := filepath.Join(w.dir, "later", "file")
		w.Reading(later)
		w.wantRead(5 * time.Second)
		w.do(os.Mkdir(filepath.Dir(later), 0o700))
		w.write(later, "text")
		w.wantRead(3*time.Second, "first")
		if _, paths := w.seen(); !slices.Equal(paths, []string{later}) {
			t.Errorf("changes of %q", paths)
		}
		w.Keep(later)
		w.write(w.file, "other")
		w.wantRead(5*time.Second, "first")
		w.Keep()
		w.write(later, "other")
		w.wantRead(5*time.Second, "first")
	})
}

// A change that comes after Reading, and before the file is read, is not missed. What was
// read already is not read twice.
func TestReadingBetweenTwoLooks(t *testing.T) {
	inBubble(t, func(w *watched) {
		w.write(w.file, "read by another signal")
		w.Reading(w.file)
		w.wantRead(5 * time.Second)
		w.write(w.file, "once more")
		w.Reading(w.file)
		w.write(w.file, "and at once again")
		w.wantRead(5*time.Second, "and at once again")
	})
}

// A change that changed does not read, since another file is wrong, is reported once, and
// so is each of several that come together.
func TestAChangeThatIsNotReadIsReportedOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{Files: &Files{}, t: t}
		one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
		w.write(one, "first")
		w.write(two, "first")
		w.Reading(one, two)
		var changes []string
		go w.Run(t.Context(), func(path string) { changes = append(changes, filepath.Base(path)) })
		w.write(two, "second")
		time.Sleep(time.Minute)
		w.write(one, "second")
		w.write(two, "third")
		time.Sleep(time.Minute)
		if synctest.Wait(); !slices.Equal(changes, []string{"two", "one"}) {
			t.Errorf("changes of %q", changes)
		}
	})
}

// A change of a file is seen although its size and its time are the same, as they may be on
// a file system whose times are whole seconds.
func TestAChangeWithinOneSecondIsSeen(t *testing.T) {
	inBubble(t, func(w *watched) {
		second := time.Now().Truncate(time.Second)
		write := func(text string) {
			w.write(w.file, text)
			w.do(os.Chtimes(w.file, second, second))
		}
		write("one")
		w.wantRead(0)
		w.Reading(w.file)
		write("two")
		w.wantRead(5*time.Second, "two")
	})
}
