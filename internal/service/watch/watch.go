// Package watch notices that files have other contents than when they were read last.
//
// It looks at them once a second (stat, which follows symbolic links) and waits for no
// notification of the system: network file systems send none, a queue of notifications
// overflows, a directory that is replaced or does not exist yet cannot be watched, and
// containers share the limit of watches. A link of a directory that is replaced, as
// Kubernetes does with a ConfigMap, is a change like any other.
package watch

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	interval = time.Second            // between two looks
	quiet    = 250 * time.Millisecond // files that have changed are taken after this long without a change
	patient  = time.Second            // the same if one is shorter than before, as one that is written in place
	step     = 50 * time.Millisecond  // between two looks meanwhile

	// leisure is how many times longer than a look the pause behind it is at least: the
	// files may be thousands.
	leisure = 100
	// most is how many bytes of a file are compared. No file of a configuration has more.
	most = 64 << 20
	// coarse is the coarsest that times of files are: one that was changed less than
	// this before it was read may change again and show the same time.
	coarse = 2 * time.Second
)

// Longest is how long files are awaited that do not become quiet, or that are missing. It is a
// variable for tests of the whole program, which set it before any call: on a slow machine a
// writer that pauses for a moment pauses for longer.
var Longest = 2 * time.Second

// Files are the files that a configuration is read from. The zero value has none. Its
// methods may be called concurrently.
type Files struct {
	mu    sync.Mutex
	files map[string]file
}

// file is what a file was when it was read last.
type file struct {
	info   os.FileInfo // nil: it could not be looked at
	read   time.Time
	digest [sha256.Size]byte // zero: it could not be read
}

// Reading adds paths whose files are about to be read. What they have at that moment is
// compared with what they have later. The caller must not read a file before.
func (f *Files) Reading(paths ...string) {
	for _, path := range paths {
		now := look(path)
		if regular(now.info) {
			now.digest = digest(path)
		}
		f.mu.Lock()
		if f.files == nil {
			f.files = make(map[string]file)
		}
		f.files[path] = now
		f.mu.Unlock()
	}
}

// Keep removes all files but these.
func (f *Files) Keep(paths ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := make(map[string]file, len(paths))
	for _, path := range paths {
		if was, known := f.files[path]; known {
			kept[path] = was
		}
	}
	f.files = kept
}

// Run calls changed with the path of a file whose contents are others than at the last
// Reading, as soon as the files are quiet. changed calls Reading before it reads them.
// Run returns when ctx ends.
func (f *Files) Run(ctx context.Context, changed func(path string)) {
	var before time.Duration // how long the look before took
	for pause := interval; wait(ctx, pause); {
		began := time.Now()
		seems := f.seemChanged()
		took := time.Since(began)
		// Files that take long to look at take long each time, unlike a machine that is busy.
		pause = max(interval, leisure*min(took, before))
		before = took
		if !seems {
			continue
		}
		if !f.settle(ctx) {
			return
		}
		if path, other := f.haveChanged(); other {
			changed(path)
		}
	}
}

// seemChanged reports whether any file looks otherwise than when it was read, or would
// not if it had changed.
func (f *Files) seemChanged() bool {
	for path, was := range f.all() {
		now := look(path)
		if !same(was.info, now.info) || fresh(was.read, now.info) {
			return true
		}
	}
	return false
}

// haveChanged returns the path of a file that has other contents than when it was read, the
// first of several. It remembers how all files look, and what they have: a change that the
// caller does not read, since another file is wrong, is not one for ever.
func (f *Files) haveChanged() (path string, other bool) {
	files := f.all()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		was, now := files[name], look(name)
		if same(was.info, now.info) && !fresh(was.read, now.info) {
			continue
		}
		if regular(now.info) {
			now.digest = digest(name)
		}
		f.mu.Lock()
		if f.files[name] == was {
			f.files[name] = now
			if now.digest != was.digest && !other {
				path, other = name, true
			}
		}
		f.mu.Unlock()
	}
	return path, other
}

// settle waits until all files have looked the same for some time, and have something. It
// reports false if ctx ends before.
func (f *Files) settle(ctx context.Context) bool {
	last, since := f.looks(), time.Now()
	for began := since; time.Since(began) < Longest; {
		if !wait(ctx, step) {
			return false
		}
		now := f.looks()
		if !maps.EqualFunc(last, now, same) {
			last, since = now, time.Now()
		}
		pause := quiet
		if f.someShorter(now) {
			pause = patient
		}
		if time.Since(since) >= pause && !f.someMissing(now) {
			break
		}
	}
	return true
}

// looks returns how all files look.
func (f *Files) looks() map[string]os.FileInfo {
	looks := make(map[string]os.FileInfo)
	for path := range f.all() {
		looks[path] = look(path).info
	}
	return looks
}

// someMissing reports whether a file is missing, or empty, that was not when it was read: it
// may be about to be written.
func (f *Files) someMissing(now map[string]os.FileInfo) bool {
	for path, was := range f.all() {
		if now := now[path]; was.info != nil && (now == nil || regular(now) && now.Size() == 0 && was.info.Size() > 0) {
			return true
		}
	}
	return false
}

// someShorter reports whether a file is the same and shorter than it was when it was read: a
// writer that pauses may not have written the rest yet. A file that takes another one's
// place is complete.
func (f *Files) someShorter(now map[string]os.FileInfo) bool {
	for path, was := range f.all() {
		if now := now[path]; regular(now) && regular(was.info) && os.SameFile(now, was.info) && now.Size() < was.info.Size() {
			return true
		}
	}
	return false
}

// all returns a copy of the files.
func (f *Files) all() map[string]file {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.files)
}

// look returns what can be seen of a file without reading it.
func look(path string) file {
	info, err := os.Stat(path)
	if err != nil {
		info = nil
	}
	return file{info: info, read: time.Now()}
}

// same reports whether two looks are of the same file, and show no change.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Mode() == b.Mode() && (!regular(a) || a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()))
}

// fresh reports whether a file was changed so shortly before it was read that it may have
// changed again, and look the same.
func fresh(read time.Time, info os.FileInfo) bool {
	return regular(info) && read.Sub(info.ModTime()).Abs() < coarse
}

// regular reports whether a file has contents that stay. A pipe has not.
func regular(info os.FileInfo) bool { return info != nil && info.Mode().IsRegular() }

// digest returns a digest of what a file has, zero if it has nothing that can be read.
func digest(path string) (sum [sha256.Size]byte) {
	f, err := os.Open(path)
	if err != nil {
		return sum
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, most)); err != nil {
		return sum
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// wait reports whether d is over before ctx.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
