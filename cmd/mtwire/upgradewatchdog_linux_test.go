package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is the socket of a service manager, that notes which process has sent what.
type manager struct {
	path string

	mu       sync.Mutex
	messages []notification
}

type notification struct {
	pid   int
	text  string
	files []*os.File
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(t.TempDir(), "notify")}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b, rights := make([]byte, 4096), make([]byte, 4096)
		for {
			n, length, _, _, err := socket.ReadMsgUnix(b, rights)
			if err != nil {
				return
			}
			m.note(string(b[:n]), rights[:length])
		}
	}()
	return m
}

func (m *manager) note(text string, rights []byte) {
	received := notification{text: text}
	messages, _ := unix.ParseSocketControlMessage(rights)
	for _, message := range messages {
		if credentials, err := unix.ParseUnixCredentials(&message); err == nil {
			received.pid = int(credentials.Pid)
		}
		fds, _ := unix.ParseUnixRights(&message)
		for _, fd := range fds {
			received.files = append(received.files, os.NewFile(uintptr(fd), "stored"))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, received)
}

// all returns the messages since the first after of them.
func (m *manager) all(after int) []notification {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.messages[after:]
}

// pings returns how many messages of a process, after the first ones, are for the watchdog.
func (m *manager) pings(after, pid int) (n int) {
	for _, received := range m.all(after) {
		if received.pid == pid && strings.Contains(received.text, "WATCHDOG=1") {
			n++
		}
	}
	return n
}

// The watchdog is notified by the process that serves, also while it tries to upgrade to a
// program that hangs, and by the new process once that has taken over, and by no other. A
// process that is stopped notifies nothing.
func TestWatchdogIsNotified(t *testing.T) {
	t.Parallel()
	m := startManager(t)
	socket := filepath.Join(t.TempDir(), "admin")
	// WATCHDOG_PID is the first process, as systemd sets it.
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	start := filepath.Join(t.TempDir(), "mtwire")
	replaceProgram(t, start, `WATCHDOG_PID=$$ exec -a mtwire `+mtwire+` "$@"`)
	u := startUpgraded(t, func(cmd *exec.Cmd) {
		cmd.Path = start
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=40000")
	}, "--admin", "unix:"+socket)
	pinged := func(what string, pid int) {
		t.Helper()
		after := len(m.all(0))
		eventually(t, what, func() bool { return m.pings(after, pid) >= 3 })
	}
	pinged("the first process", u.current)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	program, end := hanging(t)
	attempt := exec.CommandContext(ctx, "mtwire", "upgrade", "--socket", socket, "--binary", program)
	if err := attempt.Start(); err != nil {
		t.Fatal(err)
	}
	defer attempt.Wait()
	eventually(t, "an upgrade", func() bool { return contains(u.log, "msg=upgrading") })
	pinged("the first process during an upgrade", u.current)
	if contains(u.log, "the upgrade has failed") {
		t.Error("the upgrade has ended before")
	}
	end()
	eventually(t, "the end of the upgrade", func() bool { return contains(u.log, "the upgrade has failed") })

	first := u.current
	u.upgrade(t)
	pinged("the second process", u.current)
	after := len(m.all(0))
	pinged("the second process again", u.current)
	if m.pings(after, first) > 0 {
		t.Error("the first process still notifies the watchdog")
	}
	syscall.Kill(u.current, syscall.SIGSTOP)
	eventually(t, "a stopped process", func() bool { return isStopped(u.current) })
	m.readAll(t)
	after = len(m.all(0))
	time.Sleep(200 * time.Millisecond) // what does not happen takes time
	if n := m.pings(after, u.current); n > 0 {
		t.Errorf("%d notifications of a process that is stopped", n)
	}
	syscall.Kill(u.current, syscall.SIGCONT)
	pinged("the second process when it goes on", u.current)
}

// isStopped reports whether all threads of a process are stopped.
func isStopped(pid int) bool {
	threads, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/stat"))
	for _, path := range threads {
		if stat, _ := os.ReadFile(path); !strings.Contains(string(stat), ") T ") {
			return false
		}
	}
	return len(threads) > 0
}

// readAll returns when the manager has read what was sent before.
func (m *manager) readAll(t *testing.T) {
	t.Helper()
	socket, err := net.Dial("unixgram", m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	after := len(m.all(0))
	if _, err := socket.Write([]byte("LAST=1")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last message", func() bool {
		return slices.ContainsFunc(m.all(after), func(n notification) bool { return n.text == "LAST=1" })
	})
}
