//go:build unix

package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// If the user may not use the socket, the error tells as which user to run the command. It
// is run as another user than the proxy's; a test that is not root's takes the permission
// from itself.
func TestADeniedSocketNamesItsUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "denied")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "mtwire")
	copyTo(t, program)
	socket := filepath.Join(dir, "admin.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(program, "user", "list")
	cmd.Env = []string{"MTWIRE_ADMIN=" + socket}
	cmd.Dir = dir
	want := "sudo -u "
	switch os.Geteuid() {
	case 0:
		want = "sudo mtwire user"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		err = os.Chmod(socket, 0o600)
	default:
		err = os.Chmod(socket, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mtwire: "+socket+": permission denied: the proxy's user can connect, and root: "+want) {
		t.Errorf("%v\n%s", err, out)
	}
}

// copyTo copies the test's program, which is mtwire if it is called so.
func copyTo(t *testing.T, path string) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(own)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
}
