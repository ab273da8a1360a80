package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// An upgrade with another configuration opens the listeners that are new, closes those that
// are gone, with the files of their sockets, and keeps the others.
func TestUpgradeChangesListeners(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mtwire.toml")
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = loopback.FreeAddress(); err != nil {
			t.Fatal(err)
		}
	}
	dc := startEcho(t)
	socket := filepath.Join(t.TempDir(), "socket")
	write := func(listen ...string) {
		t.Helper()
		text := fmt.Sprintf("watch = false\nlisten = ['%s']\ndc = ['*=%s']\n", strings.Join(listen, "', '"), dc)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(addresses[0], addresses[1], "unix:"+socket)
	u := &upgraded{log: filepath.Join(t.TempDir(), "log")}
	u.server = startCommand(t, addresses[0], nil, "mtwire", "proxy", "--config", file, "--log-file", u.log)
	u.current = u.Process.Pid
	t.Cleanup(u.kill)
	eventually(t, "a start", func() bool { return contains(u.log, "msg=limits") })
	conn := u.join(t, upgradeModes[0])
	if conn, err := net.Dial("unix", socket); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	write(addresses[0], addresses[2])
	u.upgrade(t)
	u.join(t, upgradeModes[1])
	u.address = addresses[2]
	u.join(t, upgradeModes[2])
	if conn, err := net.Dial("tcp", addresses[1]); err == nil {
		conn.Close()
		t.Error("an address that is not configured any more is listened on")
	}
	eventually(t, "the file of a socket that is not configured any more is gone", func() bool {
		_, err := os.Lstat(socket)
		return os.IsNotExist(err)
	})
	if err := echoOnce(conn, 100); err != nil {
		t.Error(err)
	}
	syscall.Kill(u.current, syscall.SIGTERM)
}
