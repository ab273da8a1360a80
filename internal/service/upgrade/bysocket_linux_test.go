package upgrade

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

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
	if os.Geteuid() == 0 { // only root can become another user; TestOnlyTheSameUserTakesOver has the rest
		for _, name := range []string{dir, filepath.Dir(dir), path} {
			if err := os.Chmod(name, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		err := peer(func() {
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

// A process that takes nothing for a while, with more on its way than a socket has room for,
// finds the end of the upgrade behind that when it goes on, and not the end of the socket alone:
// it would serve beside the old process.
func TestAProcessThatHangsHearsOfTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "takeover")
	ln, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := dialSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(conn, appendVersion(nil, latestVersion, ""), nil)
	send(conn, []byte{byte(readyMessage)}, nil)
	own, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	h, err := Accept(t.Context(), own, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func(before time.Duration) { Timeouts.Step = before }(Timeouts.Step)
	Timeouts.Step = 20 * time.Millisecond // from here on, where the process hangs
	element := strings.Repeat("x", maxMessage/2)
	endless := func(yield func(string, any) bool) {
		for yield("part", element) {
		}
	}
	if err := h.SendState(endless); err == nil {
		t.Fatal("the state has no end")
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	buf, last := make([]byte, maxMessage), kind(0)
	for {
		message, _, err := receive(conn, buf, 1)
		if err != nil {
			if !errors.Is(err, io.EOF) || last != abortMessage {
				t.Errorf("message %d, and then %v", last, err)
			}
			return
		}
		last = kind(message[0])
	}
}

// A process may take over from one of the same user, and one of root from any.
func TestOnlyTheSameUserTakesOver(t *testing.T) {
	for _, c := range []struct {
		peer, own int
		may       bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {1000, 0, false}} {
		if err := checkUser(c.peer, c.own); err == nil != c.may {
			t.Errorf("of user %d from %d: %v", c.peer, c.own, err)
		}
	}
}
