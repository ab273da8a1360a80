package service

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// listen parses the addresses and listens on them until the test ends.
func listen(t *testing.T, texts ...string) ([]*listener, error) {
	var config Config
	for _, text := range texts {
		var address ListenAddress
		if err := address.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		if address.String() != text {
			t.Errorf("%q is %v", text, address)
		}
		config.Listen = append(config.Listen, address)
	}
	listeners, err := config.listenAll(context.Background())
	t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	return listeners, err
}

// freeAddress returns a loopback address that no process listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// socketPath returns a short path for a Unix socket: some systems allow a hundred
// bytes, and the tests' directories are named after the tests.
func socketPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "mtwire")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// reached reports whether ln accepts a connection to address.
func reached(t *testing.T, ln net.Listener, network, address string) bool {
	conn, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	defer conn.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return accepted.Close() == nil
}

// hasIPv6 reports whether there is an IPv6 loopback: some containers have none.
func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func TestAllAddressesAreListenedOn(t *testing.T) {
	addresses := []string{":0", "127.0.0.1:0", "unix:" + socketPath(t)}
	if _, err := net.LookupHost("localhost"); err == nil { // some containers do not know it
		addresses = append(addresses, "localhost:0")
	}
	loopbacks := []string{"127.0.0.1"}
	if hasIPv6() {
		addresses = append(addresses, "[::1]:0")
		loopbacks = append(loopbacks, "::1")
	}
	listeners, err := listen(t, addresses...)
	if err != nil || len(listeners) != len(addresses) {
		t.Fatal(listeners, err)
	}
	for _, ln := range listeners {
		network, address := ln.Addr().Network(), ln.Addr().String()
		if !reached(t, ln, network, address) {
			t.Errorf("%s %s cannot be reached", network, address)
		}
	}
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	for _, loopback := range loopbacks {
		if !reached(t, listeners[0], "tcp", net.JoinHostPort(loopback, port)) {
			t.Errorf(":0 cannot be reached at %s", loopback)
		}
	}
}

// 0.0.0.0 is all of IPv4 and [::] all of IPv6, so both can have the same port.
func TestBothFamiliesCanBeListenedOnSideBySide(t *testing.T) {
	listeners, err := listen(t, "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	if _, err := listen(t, "[::]:"+port); err != nil && hasIPv6() {
		t.Error(err)
	}
}

// Listening is all or nothing.
func TestOneFailureClosesTheOthers(t *testing.T) {
	path := socketPath(t)
	address := freeAddress(t)
	if listeners, err := listen(t, address, "unix:"+path, "unix:/no/such/place/socket"); err == nil || listeners != nil {
		t.Fatal(listeners, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := listen(t, address, "unix:"+path); err != nil {
		t.Errorf("not all was closed: %v", err)
	}
}

// What is missing in an address is filled in, if it is clear.
func TestAddressesAreCompleted(t *testing.T) {
	for text, want := range map[string]ListenAddress{
		"443":             {"tcp", ":443"},
		" :443 ":          {"tcp", ":443"},
		"*:443":           {"tcp", ":443"},
		"0.0.0.0":         {"tcp4", "0.0.0.0:8443"},
		"198.51.100.7":    {"tcp4", "198.51.100.7:8443"},
		"::":              {"tcp6", "[::]:8443"},
		"[::]":            {"tcp6", "[::]:8443"},
		"[2001:db8::1]":   {"tcp6", "[2001:db8::1]:8443"},
		"localhost:https": {"tcp", "localhost:https"},
	} {
		if got := unmarshal[ListenAddress](t, text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestInvalidAddressesAreErrorsThatNameTheForms(t *testing.T) {
	for text, want := range map[string]string{
		"nowhere":        "want :PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH",
		"":               "want :PORT, HOST:PORT",
		"::1:443":        "; for port 443 of ::1 write [::1]:443",
		"2001:db8::1":    "; for 2001:db8::1 write [2001:db8::1]:8443",
		"[127.0.0.1]":    "want :PORT, HOST:PORT",
		"65536":          "want :PORT, HOST:PORT",
		":65536":         "want a port from 0 to 65535",
		":no-such-port":  "want a port from 0 to 65535",
		"unix:":          "want an absolute path",
		"unix:socket":    "want an absolute path",
		"unix:@abstract": "want an absolute path",
	} {
		address := ListenAddress{"tcp", ":443"}
		err := address.UnmarshalText([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "bad address "+strconv.Quote(text)+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if address != (ListenAddress{"tcp", ":443"}) {
			t.Errorf("%q changes the address to %v", text, address)
		}
	}
}

func TestUnusableAddressesAreErrorsWithARemedy(t *testing.T) {
	taken, err := listen(t, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	directory := filepath.Dir(socketPath(t))
	file := filepath.Join(directory, "file")
	if err := os.WriteFile(file, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		taken[0].Addr().String():     "may be running there",
		"192.0.2.1:0":                "leave it out to listen on all",
		"unix:" + file:               "not a socket",
		"unix:" + directory:          "not a socket",
		"unix:" + file + "/socket":   "not a directory",
		"unix:/no/such/place/socket": "make the directory /no/such/place first",
		"unix:" + filepath.Join(directory, strings.Repeat("s", 120)): "too long for a socket",
	} {
		_, err := listen(t, text)
		if err == nil || !strings.HasPrefix(err.Error(), "listen: "+text+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "keep me" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// Root may listen anywhere, so the errors are made up.
func TestDeniedPermissionIsAnErrorWithARemedy(t *testing.T) {
	denied := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}
	for want, err := range map[string]error{
		"bind: permission denied: " + portRemedy(runtime.GOOS):     explainTCP(denied),
		"bind: permission denied: this user may not make files in": explainUnix(denied, "/run/s"),
	} {
		if !strings.HasPrefix(err.Error(), want) {
			t.Error(err)
		}
	}
}

// A remedy is one that the system has.
func TestRemediesAreOfTheSystem(t *testing.T) {
	for system, want := range map[string]string{"linux": "setcap", "windows": "netsh", "darwin": "run as root", "freebsd": "run as root"} {
		for _, remedy := range []string{"setcap", "netsh", "run as root"} {
			if strings.Contains(portRemedy(system), remedy) != (remedy == want) {
				t.Errorf("%s: %s", system, portRemedy(system))
			}
		}
	}
}

// A socket that a dead process left is replaced. A socket that a process listens on
// is an error. A listener removes its socket when it closes.
func TestStaleSocketsAreReplacedAndOthersAreNot(t *testing.T) {
	path := socketPath(t)
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()

	listeners, err := listen(t, "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t, "unix:"+path); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a second one: %v", err)
	}
	// The second one connected to test it.
	if conn, err := listeners[0].Accept(); err == nil {
		conn.Close()
	}
	if !reached(t, listeners[0], "unix", path) {
		t.Error("the first one cannot be reached any more")
	}
	listeners[0].Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestSocketIsForItsUserAndGroupOnly(t *testing.T) {
	path := socketPath(t)
	if _, err := listen(t, "unix:"+path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
