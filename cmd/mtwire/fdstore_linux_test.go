package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
)

var storeMessage = regexp.MustCompile(`^FDSTORE=1\nFDNAME=(mtwire=[0-9a-f]+)$`)

// storedBy returns the sockets that the manager keeps, by their names.
func (m *manager) storedBy(after int) map[string]*os.File {
	stored := make(map[string]*os.File)
	for _, received := range m.all(after) {
		if name := storeMessage.FindStringSubmatch(received.text); name != nil && len(received.files) == 1 {
			stored[name[1]] = received.files[0]
		}
	}
	return stored
}

// removed returns the names of sockets that the manager is not to keep any more.
func (m *manager) removed(after int) (names []string) {
	for _, received := range m.all(after) {
		if name, ok := strings.CutPrefix(received.text, "FDSTOREREMOVE=1\nFDNAME="); ok {
			names = append(names, name)
		}
	}
	return names
}

// The service manager keeps the listening sockets: a client that connects when the process
// was killed waits, and is served by the next one, which gets the sockets by their names. The
// socket of an address that is not configured any more is closed there and here. An upgrade
// has the sockets kept that the new process has opened.
func TestListenersSurviveACrash(t *testing.T) {
	t.Parallel()
	m := startManager(t)
	dir := t.TempDir()
	path, file := filepath.Join(dir, "clients"), filepath.Join(dir, "mtwire.toml")
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	dc, logs := startEcho(t), 0
	start := func(change func(*exec.Cmd), script string, listen ...string) *upgraded {
		t.Helper()
		text := fmt.Sprintf("listen = ['%s']\ndc = ['*=%s']\n", strings.Join(listen, "', '"), dc)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		logs++
		u := &upgraded{log: filepath.Join(dir, fmt.Sprint("log", logs))}
		command := []string{"bash", "-c", script, "mtwire", "proxy", "--config", file, "--log-file", u.log}
		u.server = startCommand(t, address, func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path, "FDSTORE=16")
			if change != nil {
				change(cmd)
			}
		}, command...)
		u.current = u.Process.Pid
		t.Cleanup(u.kill)
		return u
	}
	first := start(nil, `exec mtwire "$@"`, address, "unix:"+path)
	eventually(t, "two sockets", func() bool { return len(m.storedBy(0)) == 2 })
	first.join(t, upgradeModes[0])
	if err := first.stop(t, syscall.SIGKILL); err == nil {
		t.Error("it was not killed")
	}
	waiting, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()

	var names []string
	var files []*os.File
	for name, file := range m.storedBy(0) {
		names, files = append(names, name), append(files, file)
	}
	after := len(m.all(0))
	const passed = `LISTEN_PID=$$ LISTEN_FDS=2 exec mtwire "$@"`
	second := start(func(cmd *exec.Cmd) {
		cmd.ExtraFiles = files
		cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}, passed, address)
	eventually(t, "one socket is left", func() bool { return len(m.removed(after)) == 1 })
	if again := m.storedBy(after); len(again) != 0 {
		t.Errorf("%v are kept a second time", again)
	}
	endpoint, err := mtwire.ParseEndpoint("tcp://" + address + "?" + upgradeModes[0])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mtwire.Client(t.Context(), waiting, endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := echoOnce(conn, 100); err != nil {
		t.Errorf("a client that waited: %v", err)
	}
	for _, file := range files {
		file.Close() // those that are kept are the process's own from now on, for this test
	}
	eventually(t, "a socket that is not configured is closed", func() bool { // a child that another test starts may have it for a moment
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})

	more, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, "listen = ['%s', '%s']\ndc = ['*=%s']\n", address, more, dc), 0o600); err != nil {
		t.Fatal(err)
	}
	after = len(m.all(0))
	second.Process.Signal(syscall.SIGHUP)
	eventually(t, "another socket", func() bool { return len(m.storedBy(after)) == 1 })
}
