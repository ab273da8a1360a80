package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// An upgrade with another configuration opens the listeners that are new, closes those that
// are gone, and keeps the others.
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
	write := func(kept, other string) {
		t.Helper()
		text := fmt.Sprintf("watch = false\nlisten = ['%s', '%s']\ndc = ['*=%s']\n", kept, other, dc)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(addresses[0], addresses[1])
	u := &upgraded{log: filepath.Join(t.TempDir(), "log")}
	u.server = startCommand(t, addresses[0], nil, "mtwire", "proxy", "--config", file, "--log-file", u.log)
	u.current = u.Process.Pid
	t.Cleanup(u.kill)
	eventually(t, "a start", func() bool { return contains(u.log, "msg=limits") })
	conn := u.join(t, upgradeModes[0])
	write(addresses[0], addresses[2])
	u.upgrade(t)
	u.join(t, upgradeModes[1])
	u.address = addresses[2]
	u.join(t, upgradeModes[2])
	if conn, err := net.Dial("tcp", addresses[1]); err == nil {
		conn.Close()
		t.Error("an address that is not configured any more is listened on")
	}
	if err := echoOnce(conn, 100); err != nil {
		t.Error(err)
	}
	syscall.Kill(u.current, syscall.SIGTERM)
}
