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

func closeFDs([]int) {}

func connOf(int) (net.Conn, error) { return nil, errors.ErrUnsupported }

func listenerOf(int) (net.Listener, error) { return nil, errors.ErrUnsupported }

func duplicate(any) (int, error) { return 0, errors.ErrUnsupported }

func isExecutable(string) bool { return true }

func isTrusted(os.FileInfo) bool { return false }

func inOwnGroup(*exec.Cmd) {}
