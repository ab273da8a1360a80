package store

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
)

// helperEnv names the directory of a test's other process: see startProcess.
const helperEnv = "STORE_TEST_DIRECTORY"

// helper counts and writes without a pause, and prints what is on the disk.
func helper(dir string) {
	s := Open(dir, Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	source := newCounting(s.Counters())
	s.source = source
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // the test has ended
	}()
	for n := 0; ; n++ {
		source.add("alice", 1, 0)
		for i := range 200 {
			source.add(fmt.Sprint("user", i), 1, 1)
		}
		if err := s.Flush(); err != nil {
			panic(err)
		}
		err := s.Update(func([]users.User) ([]users.User, error) {
			list := userList()[:1]
			list[0].Note = strconv.Itoa(n)
			return list, nil
		})
		if err != nil {
			panic(err)
		}
		fmt.Println(up(source.Counters(nil), "alice"))
	}
}

// startProcess starts another process that writes to dir, and returns its output and a
// function that kills it.
func startProcess(t *testing.T, dir string) (out *bufio.Scanner, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { cmd.Process.Kill() }
	t.Cleanup(func() { kill(); cmd.Wait() })
	return bufio.NewScanner(stdout), kill
}

// A process that is killed at any moment of a write leaves a store that has all it had
// written before, and nothing damaged: fifty times.
func TestKilledProcessesLoseNothingThatWasWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("fifty processes")
	}
	dir := t.TempDir()
	last := int64(0)
	for n := range 50 {
		out, kill := startProcess(t, dir)
		if !out.Scan() {
			t.Fatalf("the process has ended: %v", out.Err())
		}
		time.AfterFunc(time.Duration(rand.Int64N(int64(3*time.Millisecond))), kill)
		written := out.Text()
		for out.Scan() {
			written = out.Text()
		}
		count, err := strconv.ParseInt(written, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s := Open(dir, Options{})
		got := up(s.Counters(), "alice")
		if status := s.Status(); status.Err != nil || len(status.Damaged) > 0 || got < count || got > count+1 || count <= last || len(s.Users()) != 1 {
			t.Errorf("process %d has written %d, and %d are there, %d users: %+v", n, count, got, len(s.Users()), status)
		}
		last = got
		closed(t, s)
	}
}

// While another process has the store, this one does not write to it, and it does at
// once when that one was killed.
func TestTheLockEndsWithItsProcess(t *testing.T) {
	dir := t.TempDir()
	out, kill := startProcess(t, dir)
	if !out.Scan() {
		t.Fatal(out.Err())
	}
	s, source := opened(t, dir, Options{})
	source.add("bob", 1, 0)
	if err := s.Flush(); err != ErrLocked {
		t.Error(err)
	}
	kill()
	for out.Scan() {
	}
	deadline := time.Now().Add(30 * time.Second)
	for s.Flush() != nil {
		if time.Now().After(deadline) {
			t.Fatal(s.Status().Err)
		}
		time.Sleep(time.Millisecond) // the kernel ends the process
	}
	if all := source.Counters(nil); up(all, "alice") == 0 || up(all, "bob") != 1 {
		t.Errorf("%+v", all)
	}
}
