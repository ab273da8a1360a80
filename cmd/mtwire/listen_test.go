package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// listening is listenAll, with everything closed at the test's end.
func listening(t *testing.T, texts ...string) ([]net.Listener, error) {
	listeners, err := listenAll(context.Background(), texts)
	t.Cleanup(func() {
		for _, ln := range listeners {
			ln.Close()
		}
	})
	return listeners, err
}

// socketPath is short: some systems allow a hundred bytes, and the tests'
// directories are named after the tests.
func socketPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "mtwire")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// reached says whether a dialled connection comes out at ln.
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

// hasIPv6 is false in some containers.
func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func TestEveryPlaceThatIsNamedIsListenedAt(t *testing.T) {
	places := []string{"127.0.0.1:0", "localhost:0", ":0", "unix:" + socketPath(t)}
	loopbacks := []string{"127.0.0.1"}
	if hasIPv6() {
		places = append(places, "[::1]:0")
		loopbacks = append(loopbacks, "::1")
	}
	listeners, err := listening(t, places...)
	if err != nil || len(listeners) != len(places) {
		t.Fatal(listeners, err)
	}
	for _, ln := range listeners {
		network, address := ln.Addr().Network(), ln.Addr().String()
		if !reached(t, ln, network, address) {
			t.Errorf("%s %s cannot be reached", network, address)
		}
	}
	_, port, _ := net.SplitHostPort(listeners[2].Addr().String())
	for _, loopback := range loopbacks {
		if !reached(t, listeners[2], "tcp", net.JoinHostPort(loopback, port)) {
			t.Errorf(":0 cannot be reached at %s", loopback)
		}
	}
}

// "0.0.0.0 is all of IPv4 and [::] all of IPv6": whoever names both means both.
func TestBothFamiliesCanBeNamedSideBySide(t *testing.T) {
	listeners, err := listening(t, "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	if _, err := listening(t, "[::]:"+port); err != nil && hasIPv6() {
		t.Error(err)
	}
}

// "It is all or none."
func TestOneFailureClosesTheOthers(t *testing.T) {
	path := socketPath(t)
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	if listeners, err := listening(t, address, "unix:"+path, "nowhere"); err == nil || listeners != nil {
		t.Fatal(listeners, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := listening(t, address, "unix:"+path); err != nil {
		t.Errorf("not all was closed: %v", err)
	}
}

func TestPlacesThatCannotBeAreErrors(t *testing.T) {
	taken, err := listening(t, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	directory := filepath.Dir(socketPath(t))
	file := filepath.Join(directory, "file")
	if err := os.WriteFile(file, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"443":                        "want :PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH",
		"":                           "want :PORT, HOST:PORT",
		"::1:443":                    "want :PORT, HOST:PORT",
		":65536":                     "invalid port",
		taken[0].Addr().String():     "may be running there",
		"192.0.2.1:0":                "leave it out to listen on all",
		"unix:":                      "want an absolute path",
		"unix:socket":                "want an absolute path",
		"unix:@abstract":             "want an absolute path",
		"unix:" + file:               "no socket",
		"unix:" + directory:          "no socket",
		"unix:" + file + "/socket":   "not a directory",
		"unix:/no/such/place/socket": "make the directory /no/such/place first",
		"unix:" + filepath.Join(directory, strings.Repeat("s", 120)): "too long for a socket",
	} {
		_, err := listening(t, text)
		if err == nil || !strings.HasPrefix(err.Error(), "--listen "+text+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "keep me" {
		t.Errorf("the file is %q, %v", text, err)
	}
	if _, err := listening(t, ":0", ":0"); err == nil || err.Error() != "--listen :0 is given twice" {
		t.Error(err)
	}
}

// Root may listen anywhere, so these are not real.
func TestRefusedPermissionSaysWhatToDo(t *testing.T) {
	denied := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}
	for want, err := range map[string]error{
		"bind: permission denied: take a port above 1023":          explainTCP(denied),
		"bind: permission denied: this user may not make files in": explainUnix(denied, "/run/s"),
	} {
		if !strings.HasPrefix(err.Error(), want) {
			t.Error(err)
		}
	}
}

// "a stale socket file of a dead process is removed, a live one is an error",
// and "the file is removed at the end".
func TestSocketsOfTheDeadAreReplacedAndOfTheLivingAreNot(t *testing.T) {
	path := socketPath(t)
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()

	listeners, err := listening(t, "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listening(t, "unix:"+path); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a second one: %v", err)
	}
	// The look at it was a connection too.
	if conn, err := listeners[0].Accept(); err == nil {
		conn.Close()
	}
	if !reached(t, listeners[0], "unix", path) {
		t.Error("the first one is not reached any more")
	}
	listeners[0].Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestSocketIsForItsUserAndGroupOnly(t *testing.T) {
	path := socketPath(t)
	if _, err := listening(t, "unix:"+path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A link that is printed leads to the proxy, whatever it listens on.
func TestLinksLeadToWhereTheProxyListens(t *testing.T) {
	texts := []string{":0", "0.0.0.0:0", "127.0.0.1:0"}
	if hasIPv6() {
		texts = append(texts, "[::]:0", "[::1]:0")
	}
	for _, text := range texts {
		listeners, err := listening(t, text)
		if err != nil {
			t.Fatal(err)
		}
		f := &proxyFlags{listen: []string{text}}
		server, port, err := f.reachable(listeners)
		if address := net.JoinHostPort(server, strconv.Itoa(int(port))); err != nil || !reached(t, listeners[0], "tcp", address) {
			t.Errorf("%s: the link leads to %s, %v", text, address, err)
		}
	}
}
