package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// socketMode lets a web server of the same group connect to a Unix socket,
// and nobody else.
const socketMode = 0o660

// listenAll listens at every place of the --listen flags:
//
//	:PORT        all addresses, IPv4 and IPv6
//	HOST:PORT    that address; 0.0.0.0 is all of IPv4 and [::] all of IPv6
//	unix:/PATH   a Unix socket, which is removed when its listener closes
//
// It is all or none: if one fails, the others are closed. What a Unix socket's
// process left behind when it died is removed.
func listenAll(ctx context.Context, texts []string) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, ln := range listeners {
				ln.Close()
			}
			listeners = nil
		}
	}()
	for i, text := range texts {
		if slices.Contains(texts[:i], text) {
			return listeners, fmt.Errorf("--listen %s is given twice", text)
		}
		ln, err := listenAt(ctx, text)
		if err != nil {
			return listeners, fmt.Errorf("--listen %s: %w", text, err)
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

func listenAt(ctx context.Context, text string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return listenUnix(ctx, path)
	}
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		return nil, errors.New("want :PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH")
	}
	// Probes find clients that are gone without a word, such as phones that
	// lost their network, so that they do not hold a socket for ever. A client
	// in use speaks every minute or so, and one in the background every few
	// minutes. Only who has been silent for longer is probed, because a probe
	// wakes a phone's radio. A dead one is noticed after 7 minutes.
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4,
	}}
	// No client of Telegram's asks for Multipath TCP, which Go would listen for,
	// and a socket of that kind costs more, whatever the client.
	config.SetMultipathTCP(false)
	ln, err := config.Listen(ctx, tcpNetwork(host), text)
	if err != nil {
		return nil, explainTCP(err)
	}
	return ln, nil
}

// tcpNetwork has 0.0.0.0 and [::] mean what they say, side by side; package
// net by itself would take both families for either.
func tcpNetwork(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "tcp"
	case addr.Is4():
		return "tcp4"
	}
	return "tcp6"
}

// explainTCP adds what to do about an error.
func explainTCP(err error) error {
	cause := err
	var op *net.OpError
	if errors.As(err, &op) {
		cause = op.Err // without the address, which was said already
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: take a port above 1023, or allow this one with setcap cap_net_bind_service=+ep on the program's file", cause)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another proxy or a web server may be running there", cause)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have the address itself; leave it out to listen on all there are", cause)
	}
	return cause
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("want an absolute path, unix:/PATH")
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		ln, err = config.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, explainUnix(err, path)
	}
	// Until here the file has the mode of the umask, which with any usual one
	// keeps others out: to connect takes the right to write.
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// removeStale removes a socket that no process listens on any more.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file is there that is no socket")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	// Any other error, a full queue for instance, is no proof of death.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("another process listens there, perhaps another proxy")
	}
	return os.Remove(path)
}

func explainUnix(err error, path string) error {
	cause := err
	var op *net.OpError
	if errors.As(err, &op) {
		cause = op.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make the directory %s first", cause, filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: this user may not make files in %s", cause, filepath.Dir(path))
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: the path of %d bytes may be too long for a socket", cause, len(path))
	}
	return cause
}
