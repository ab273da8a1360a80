package upgrade

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process of another user is not handed over to, also if it can connect. One of this user
// is, and where no process listens there is nothing to take over.
func TestOtherUsersCannotTakeOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "takeover")
	if conn, err := dialSocket(path); conn != nil || err != nil {
		t.Fatal(conn, err)
	}
	ln, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	peer := func(dial func()) error {
		t.Helper()
		go dial()
		conn, err := ln.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = peerOf(conn)
		return err
	}
	if err := peer(func() { dialSocket(path) }); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to be another user")
	}
	for _, name := range []string{dir, filepath.Dir(dir), path} {
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	err = peer(func() {
		runtime.LockOSThread() // and not unlocked: the thread ends, which is the other user's
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			t.Error(errno)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		if err != nil {
			t.Error(err)
			ln.Close()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "of user 65534") {
		t.Error(err)
	}
	ln.Close()
	if conn, err := dialSocket(path); conn != nil || err != nil { // the file is left
		t.Error(conn, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(filepath.Join(dir, "file")); err == nil {
		t.Error("a file was replaced")
	}
}
