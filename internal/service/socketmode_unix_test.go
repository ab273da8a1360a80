//go:build unix

package service

import (
	"os"
	"syscall"
	"testing"
)

// A Unix socket has no permission that its mode has not at any time, also before the
// mode is set, whatever the umask is: a client that connects first stays connected.
func TestSocketIsNeverForOthers(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := socketPath(t)
	ln, err := bindUnix(t.Context(), path, adminSocketMode)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != adminSocketMode {
		t.Errorf("%v, %v, want %v", info.Mode(), err, os.FileMode(adminSocketMode))
	}
}
