package logwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func notice(dropped int) []byte { return fmt.Appendf(nil, "dropped=%d\n", dropped) }

// destination is a log's reader that can stop, and can refuse.
type destination struct {
	stopped chan struct{} // blocks Write until it is closed; nil: never

	mu   sync.Mutex
	text bytes.Buffer
	err  error // returned by Write, which takes room bytes then
	room int
}

func (d *destination) Write(b []byte) (int, error) {
	if d.stopped != nil {
		<-d.stopped
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		b = b[:min(d.room, len(b))]
	}
	d.text.Write(b)
	return len(b), d.err
}

func (d *destination) refuse(err error, room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.room = err, room
}

// Lines arrive in order and unchanged, and Close waits for them.
func TestLinesArriveInOrder(t *testing.T) {
	d := &destination{}
	w := New(d, notice)
	var want strings.Builder
	for i := range 5000 {
		fmt.Fprintf(w, "line %d\n", i)
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if !w.Close(time.Minute) || d.text.String() != want.String() {
		t.Errorf("%d bytes, want %d", d.text.Len(), want.Len())
	}
}

// Flush waits for the lines before it, for as long as its limit, and the Writer takes
// more afterwards.
func TestFlushWaitsForTheDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &destination{}
		w := New(d, notice)
		if !w.Flush(0) {
			t.Error("an empty queue is not written")
		}
		d.stopped = make(chan struct{})
		io.WriteString(w, "a\n")
		start := time.Now()
		if w.Flush(time.Second) || time.Since(start) != time.Second {
			t.Errorf("Flush has taken %v", time.Since(start))
		}
		close(d.stopped)
		if !w.Flush(time.Second) || d.text.String() != "a\n" {
			t.Errorf("%q", d.text.String())
		}
		io.WriteString(w, "b\n")
		if !w.Close(time.Second) || d.text.String() != "a\nb\n" {
			t.Errorf("%q", d.text.String())
		}
	})
}

// A destination that is not read blocks neither Write nor Close, and takes no more
// memory than the bound. What it did not get is counted where it is missing.
func TestUnreadLogBlocksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, pipe := io.Pipe()
		w := New(pipe, notice)
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range 5000 {
			if n, err := w.Write(line); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		synctest.Wait()
		if cap(w.queue) > 2*maxQueued {
			t.Errorf("the queue has %d bytes", cap(w.queue))
		}
		start := time.Now()
		if w.Close(time.Second) || time.Since(start) != time.Second {
			t.Errorf("Close has taken %v", time.Since(start))
		}
		// The reader goes on, too late for Close.
		all := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(reader)
			all <- b
		}()
		synctest.Wait()
		pipe.Close()
		text := string(<-all)
		written := strings.Count(text, "x\n")
		if want := fmt.Sprintf("dropped=%d\n", 5000-written); !strings.HasSuffix(text, want) || written < 1024 {
			t.Errorf("%d lines, and at the end %q, want %q", written, text[len(text)-20:], want)
		}
	})
}

// Lines that a full disk refuses are counted, also if it takes a part of them, and
// the number is written as soon as there is room, as a line of its own.
func TestRefusedLinesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &destination{}
		w := New(d, notice)
		write := func(line string) {
			time.Sleep(gather)
			io.WriteString(w, line)
			synctest.Wait()
		}
		write("a\n")
		d.refuse(errors.New("no space left"), 3)
		write("b\nc\n")
		d.refuse(errors.New("no space left"), 0)
		write("d\n")
		write("e\n")
		d.refuse(nil, 0)
		write("f\n")
		write("g\n")
		if text := d.text.String(); text != "a\nb\nc"+"\ndropped=3\nf\ng\n" {
			t.Errorf("%q", text)
		}
		if !w.Close(time.Second) {
			t.Error("not everything was written")
		}
	})
}

// Reopen continues in a new file after the old one was renamed. If that fails, the
// old one stays in use.
func TestReopenedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	os.WriteFile(path, []byte("before\n"), 0o600)
	f, err := Open(path, notice)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "first\n")
	flush(t, f.Writer)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil {
		t.Error("a directory was opened")
	}
	io.WriteString(f, "second\n")
	flush(t, f.Writer)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "third\n")
	if !f.Close(time.Minute) {
		t.Error("not everything was written")
	}
	for name, want := range map[string]string{path + ".1": "before\nfirst\nsecond\n", path: "third\n"} {
		if got, err := os.ReadFile(name); string(got) != want {
			t.Errorf("%s has %q, %v; want %q", name, got, err, want)
		}
	}
}

// A write that the change of destinations has overtaken, and that fails because the old
// one is closed, continues in the new one: no line is lost, and none is written twice.
// Without a change, what a closed destination refuses is counted.
func TestWriteToAClosedFileContinuesInItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last, next := &destination{stopped: make(chan struct{})}, &destination{}
		w := New(last, notice)
		last.refuse(&os.PathError{Op: "write", Err: os.ErrClosed}, 3)
		io.WriteString(w, "a\nb\n")
		synctest.Wait() // until it is in Write
		w.mu.Lock()
		w.dst = next
		w.replaced++
		w.mu.Unlock()
		close(last.stopped)
		if !w.Flush(time.Second) || last.text.String() != "a\nb" || next.text.String() != "\n" {
			t.Errorf("%q, then %q", last.text.String(), next.text.String())
		}
		next.refuse(os.ErrClosed, 0)
		io.WriteString(w, "c\n")
		w.Flush(time.Second)
		next.refuse(nil, 0)
		io.WriteString(w, "d\n")
		if w.Close(time.Second); next.text.String() != "\ndropped=1\nd\n" {
			t.Errorf("a closed file: %q", next.text.String())
		}
	})
}

// flush waits until what was written is in the file.
func flush(t *testing.T, w *Writer) {
	t.Helper()
	w.mu.Lock()
	settled := w.settled
	w.mu.Unlock()
	<-settled
}

// What is appended to a file that ends in a part of a line, as a full disk leaves it, begins a
// line of its own: at the start, and when the file is opened again.
func TestAFileThatEndsInALineIsContinuedInTheNext(t *testing.T) {
	dir := t.TempDir()
	for name, before := range map[string]string{"torn": "whole\nto", "whole": "whole\n", "empty": ""} {
		path := filepath.Join(dir, name)
		want := before + "first\n"
		if name == "torn" {
			want = before + "\nfirst\n"
		}
		for _, opened := range []bool{true, false} {
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path, notice)
			if err != nil {
				t.Fatal(err)
			}
			if !opened {
				io.WriteString(f, "another\n")
				flush(t, f.Writer)
				if err := os.Rename(path, path+".1"); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := f.Reopen(); err != nil {
					t.Fatal(err)
				}
			}
			io.WriteString(f, "first\n")
			if !f.Close(time.Minute) {
				t.Error("not everything was written")
			}
			if text, err := os.ReadFile(path); string(text) != want {
				t.Errorf("%s: %q, %v; want %q", name, text, err, want)
			}
		}
	}
}

// Open returns the error of a path that cannot be a log.
func TestOpenFails(t *testing.T) {
	if _, err := Open(t.TempDir(), notice); err == nil {
		t.Error("a directory was opened")
	}
}

// A line is written at once after a silence; those that follow soon are written
// together, or by Flush.
func TestLinesInQuickSuccessionAreOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &destination{}
		w := New(d, notice)
		written := func(want string) {
			t.Helper()
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.text.String() != want {
				t.Errorf("%q, want %q", d.text.String(), want)
			}
		}
		io.WriteString(w, "a\n")
		written("a\n")
		for _, line := range []string{"b\n", "c\n"} {
			io.WriteString(w, line)
		}
		written("a\n")
		time.Sleep(gather)
		written("a\nb\nc\n")
		io.WriteString(w, "d\n")
		if !w.Flush(0) {
			synctest.Wait()
		}
		written("a\nb\nc\nd\n")
	})
}
