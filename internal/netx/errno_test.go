package netx

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

// Errors of real sockets are recognised on every system.
func TestErrorsOfSocketsAreRecognised(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = net.Listen("tcp", ln.Addr().String())
	if !IsErrno(err, syscall.EADDRINUSE) || !IsErrno(err, syscall.EMFILE, syscall.EADDRINUSE) || IsErrno(err, syscall.ECONNREFUSED) {
		t.Errorf("an address in use: %v", err)
	}
	if text := Readable(err).Error(); strings.Contains(text, "winapi error") || !IsErrno(Readable(err), syscall.EADDRINUSE) {
		t.Error(text)
	}
	ln.Close()
	if _, err = net.Dial("tcp", ln.Addr().String()); !IsErrno(err, syscall.ECONNREFUSED) || IsErrno(err, syscall.EADDRINUSE) {
		t.Errorf("a closed port: %v", err)
	}
	if _, err = net.Listen("tcp", "192.0.2.1:0"); !IsErrno(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("an address of another machine: %v", err)
	}
	if !IsErrno(fmt.Errorf("wrapped: %w", err), syscall.EADDRNOTAVAIL) || IsErrno(nil, syscall.EADDRNOTAVAIL) {
		t.Error("wrapped, or nil")
	}
}
