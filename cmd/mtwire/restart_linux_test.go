package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// clients are clients that connect one after the other, each for one answer.
type clients struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	answered int
	failed   []error
}

// startClients starts several of them. address is listened on.
func startClients(t *testing.T, address string) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c := &clients{stop: cancel}
	for range 4 {
		c.running.Go(func() {
			for ctx.Err() == nil {
				err := askWithin(context.Background(), patience, "tcp://"+address+"?secret="+mtwiretest.PlainSecret)
				c.mu.Lock()
				if c.answered++; err != nil {
					c.failed = append(c.failed, err)
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

// answer waits until that many more clients have had an answer.
func (c *clients) answer(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.answered
	}
	want := count() + more
	eventually(t, "answers", func() bool { return count() >= want })
}

// end stops the clients, of which none may have failed.
func (c *clients) end(t *testing.T) {
	t.Helper()
	c.stop()
	c.running.Wait()
	if len(c.failed) > 0 {
		t.Errorf("%d of %d clients failed, one with: %v", len(c.failed), c.answered, c.failed[0])
	}
}

// With --reuse-port a new process starts beside the old one and takes over from it: no
// client is refused, none is cut off, and those that are connected stay. So it goes on
// from process to process.
func TestStartBesideRefusesNoClient(t *testing.T) {
	t.Parallel()
	dc := startDataCenter(t)
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	start := func(i int) (*server, string) {
		log := filepath.Join(logs, fmt.Sprint(i))
		s := startCommand(t, address, patient, "mtwire", "proxy", "--listen", address, "--dc", "*="+dc, "--reuse-port", "--log-file", log)
		eventually(t, "a start", func() bool { return contains(log, "msg=limits") })
		return s, log
	}
	running, _ := start(0)
	clients := startClients(t, address)
	for i := range 3 {
		clients.answer(t, 20)
		next, log := start(i + 1)
		conn := running.connect(t)
		stopped := make(chan error, 1)
		running.Process.Signal(syscall.SIGTERM)
		go func() { stopped <- running.stop(t, syscall.Signal(0)) }()
		receiveResPQ(t, conn)
		conn.Close()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		clients.answer(t, 20)
		eventually(t, "a client of the new process", func() bool { return contains(log, "msg=closed") })
		running = next
	}
	clients.end(t)
	if err := running.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// A process without the flag does not listen beside another one.
func TestPortIsNotSharedByDefault(t *testing.T) {
	s := startServer(t, nil, "--reuse-port")
	s.ask(t)
	out, err := exec.Command("mtwire", "proxy", "--listen", s.address, "--secret", mtwiretest.PlainSecret).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "start both with --reuse-port") {
		t.Errorf("%v, %s", err, out)
	}
	s.ask(t)
}

// passSocket passes ln to a command as systemd does. The shell has the number of the
// process, which the shell then becomes.
func passSocket(t *testing.T, ln interface{ File() (*os.File, error) }) (change func(*exec.Cmd), command []string) {
	t.Helper()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{file} },
		[]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec mtwire proxy "$@"`, "sh"}
}

// With a socket of systemd, a restart refuses no client either: those that come while
// no process accepts connections wait.
func TestRestartWithInheritedSocketRefusesNoClient(t *testing.T) {
	dc := startDataCenter(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := ln.Addr().String()
	change, command := passSocket(t, ln.(*net.TCPListener))
	start := func() *server {
		return startCommand(t, address, func(cmd *exec.Cmd) { change(cmd); patient(cmd) }, append(command, "--dc", "*="+dc)...)
	}
	running := start()
	clients := startClients(t, address)
	for range 3 {
		clients.answer(t, 20)
		if err := running.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		running = start()
	}
	clients.answer(t, 20)
	clients.end(t)
	if err := running.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// A process with an inherited socket listens on no default address, does not remove an
// inherited Unix socket, and takes one that is also in --listen for that.
func TestInheritedSocketReplacesTheDefault(t *testing.T) {
	dc := startDataCenter(t)
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	change, command := passSocket(t, ln.(*net.UnixListener))
	flags := append(command, "--dc", "*="+dc, "--listen", address, "--listen", "unix:"+path)
	for range 2 {
		s := startCommand(t, address, change, flags...)
		s.ask(t)
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if err := s.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A socket that does not listen is refused, with the setting of systemd that is wrong.
func TestInheritedSocketMustListen(t *testing.T) {
	ln, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	change, command := passSocket(t, ln.(*net.UDPConn))
	cmd := exec.Command(command[0], append(command[1:], "--secret", mtwiretest.PlainSecret)...)
	change(cmd)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mtwire: socket 1 of LISTEN_FDS, LISTEN_FD_3: it does not listen for connections: set ListenStream= and Accept=no") {
		t.Errorf("%v, %s", err, out)
	}
}

// systemd's own tool starts a server at the first connection, which is served.
func TestServerIsStartedBySystemd(t *testing.T) {
	const tool = "systemd-socket-activate"
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("NOT RUN: %v; it comes with systemd, and other tests pass sockets without it", err)
	}
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, address, nil, tool, "--listen", address, "--setenv=STATE_DIRECTORY="+t.TempDir(), mtwire, "proxy", "--dc", "*="+startDataCenter(t))
	for range 3 {
		s.ask(t)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
