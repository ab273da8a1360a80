package replay

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// helperEnv names the directory of a test's other process: see startProcess.
const helperEnv = "REPLAY_TEST_DIRECTORY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		helper(dir)
		return
	}
	os.Exit(m.Run())
}

// helper reads numbers of ids from its standard input and answers each with what
// Seen returns. It ends with its input, without Close.
func helper(dir string) {
	m, err := Open(dir, Options{DiskError: func(err error) { panic(err) }})
	if err != nil {
		panic(err)
	}
	go m.Run(context.Background())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			panic(err)
		}
		fmt.Println(m.Seen(idOf(n)))
	}
}

// startProcess starts another process that has a Memory in dir, and returns a
// function for its Seen, and one that kills it.
func startProcess(t *testing.T, dir string) (seen func(n int) bool, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	return func(n int) bool {
		t.Helper()
		fmt.Fprintln(in, n)
		if !lines.Scan() {
			t.Fatalf("the other process has ended: %v", lines.Err())
		}
		seen, err := strconv.ParseBool(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}, kill
}

// open returns a memory in dir whose disk must not fail.
func open(t *testing.T, dir string, options Options) *Memory {
	t.Helper()
	if options.DiskError == nil {
		options.DiskError = func(err error) { t.Errorf("disk: %v", err) }
	}
	m, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start runs m until stop is called, or the test ends.
func start(t *testing.T, m *Memory) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// closed writes what m has, and closes it.
func closed(t *testing.T, m *Memory) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// remembers reports whether m remembers an id, and leaves m as it is.
func remembers(m *Memory, n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(m.elapsed())
	return m.has(m.fingerprint(idOf(n)))
}

// eventually waits for something that another goroutine or process does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in half a minute: %s", what)
		}
	}
}

// logsIn returns the names and sizes of the files in dir.
func logsIn(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sizes := make(map[string]int64)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		sizes[entry.Name()] = info.Size()
	}
	return sizes
}
