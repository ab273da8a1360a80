//go:build unix

package service

import (
	"net"
	"os"
	"strings"
	"testing"
)

// A Unix socket takes the name from the one before, which stays open and does not
// remove it. A file that is no socket is not replaced.
func TestUnixSocketIsTakenOver(t *testing.T) {
	path := socketPath(t)
	address := ListenAddress{"unix", path}
	first, err := address.listen(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if !reached(t, first, "unix", path) {
		t.Error("the first one is not reached")
	}
	second, err := address.listen(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if !reached(t, second, "unix", path) || second.Addr().String() != path {
		t.Errorf("the second one is not reached, at %v", second.Addr())
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("%v, %v", info, err)
	}
	if !reached(t, second, "unix", path) {
		t.Error("the second one is not reached when the first has closed")
	}
	second.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ln, err := address.listen(t.Context(), true); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("%v, %v", ln, err)
	}
	if _, err := os.Lstat(path + besideSuffix); !os.IsNotExist(err) {
		t.Errorf("a socket is left: %v", err)
	}
}

// The socket of another program is not taken, also after a process with --reuse-port has
// ended there. That of a dead process is.
func TestSocketOfAnotherProgramIsNotTaken(t *testing.T) {
	path := socketPath(t)
	address := ListenAddress{"unix", path}
	shared, err := address.listen(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	shared.Close()
	foreign, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if ln, err := address.listen(t.Context(), true); err == nil || !strings.Contains(err.Error(), "no proxy with --reuse-port") {
		t.Fatalf("%v, %v", ln, err)
	}
	if conn, err := foreign.Accept(); err == nil { // which tested it
		conn.Close()
	}
	if !reached(t, foreign, "unix", path) {
		t.Error("the program cannot be reached any more")
	}
	foreign.(*net.UnixListener).SetUnlinkOnClose(false)
	foreign.Close()
	ln, err := address.listen(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if !reached(t, ln, "unix", path) {
		t.Error("the socket of a dead process was not replaced")
	}
}
