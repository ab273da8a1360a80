//go:build unix

package netx

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// A lookup that gets no descriptor is told from one whose name is wrong. The error is the real one
// of package net.
func TestALookupWithoutADescriptorIsRecognised(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 1
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err := (&net.Resolver{PreferGo: true}).LookupHost(t.Context(), "host.test")
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	var lookup *net.DNSError
	if !errors.As(err, &lookup) || !IsErrno(&net.OpError{Op: "dial", Err: err}, EMFILE, ENFILE) || !IsLocal(err) || IsErrno(err, ECONNREFUSED) {
		t.Errorf("%T, %v", err, err)
	}
	system := &net.DNSError{Err: syscall.ENFILE.Error(), Name: "host.test"} // of getaddrinfo
	if !IsErrno(system, EMFILE, ENFILE) || !IsLocal(system) || IsErrno(system, ECONNREFUSED) {
		t.Error("an error of the system's resolver is not recognised")
	}
	missing := &net.DNSError{Err: "no such host", Name: "too many open files", IsNotFound: true}
	if IsErrno(missing, EMFILE) || IsLocal(missing) {
		t.Error("a name that does not exist is taken for a shortage")
	}
}
