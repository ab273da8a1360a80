//go:build !linux

package upgrade

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

// Variable is the environment variable that has the number of the new process's socket.
const Variable = "MTWIRE_UPGRADE_SOCKET"

const childSocket = 3

// Sessions move on Linux, where they are parked.

func socketPair() (*net.UnixConn, *os.File, error) { return nil, nil, errors.ErrUnsupported }

func inheritedSocket() (*net.UnixConn, error) { return nil, nil }

func send(*net.UnixConn, []byte, []int) error { return errors.ErrUnsupported }

func receive(*net.UnixConn, []byte, int) ([]byte, []int, error) {
	return nil, nil, errors.ErrUnsupported
}

func tellSenders(*net.UnixConn) {}

func senderOf(*net.UnixConn) (int, error) { return 0, errors.ErrUnsupported }

func closeFDs([]int) {}

func startMasked(cmd *exec.Cmd) error { return cmd.Start() }

func connOf(int) (net.Conn, error) { return nil, errors.ErrUnsupported }

func listenerOf(int) (net.Listener, error) { return nil, errors.ErrUnsupported }

func duplicate(any) (int, error) { return 0, errors.ErrUnsupported }

func isExecutable(string) bool { return true }

func isTrusted(os.FileInfo) bool { return false }

func isOwned(os.FileInfo) bool { return false }

func inOwnGroup(*exec.Cmd) {}

const openNow = 0

func programOf(int) string { return "" }

func linkProgram(string) error { return errors.ErrUnsupported }

func execute(*os.File, string) error { return errors.ErrUnsupported }

func startOf(int) (string, error) { return "", errors.ErrUnsupported }

func isStarted(int, string) bool { return false }

func bootID() string { return "" }

func syncDirectory(string) error { return nil }

// ListenSocket fails: sessions do not move here.
func ListenSocket(string) (*net.UnixListener, error) { return nil, errors.ErrUnsupported }

func dialSocket(string) (*net.UnixConn, error) { return nil, errors.ErrUnsupported }

func peerOf(*net.UnixConn) (int, error) { return 0, errors.ErrUnsupported }
