package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// upgraded is a proxy that is upgraded from process to process.
type upgraded struct {
	*server
	log     string
	current int // the process that serves
}

// longDrain is longer than patience: what a test waits for does not come with the end of a
// process.
const longDrain = "3m"

// startUpgraded starts mtwire proxy in front of a data centre that echoes.
func startUpgraded(t *testing.T, change func(*exec.Cmd), flags ...string) *upgraded {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	u := &upgraded{log: filepath.Join(t.TempDir(), "log")}
	command := append([]string{"mtwire", "proxy", "--listen", address, "--dc", "*=" + startEcho(t), "--log-file", u.log, "--secret", "ee=" + mtwiretest.FakeTLSSecret, "--drain", longDrain}, flags...)
	u.server = startCommand(t, address, change, command...)
	u.current = u.Process.Pid
	t.Cleanup(u.kill)
	eventually(t, "a start", func() bool { return contains(u.log, "msg=limits") })
	return u
}

// kill ends all processes of the proxy, which have its log on their command lines.
func (u *upgraded) kill() {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		text, _ := os.ReadFile(path)
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && strings.Contains(string(text), u.log) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// startEcho starts a data centre that echoes packets, and returns its address.
func startEcho(t *testing.T) string {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ln.Serve(t.Context(), func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) == nil {
			mtwiretest.Echo(ctx, conn)
		}
	})
	return ln.Addr().String()
}

var takenOver = regexp.MustCompile(`another process has taken over" pid=(\d+) sessions=(\d+) left=(\d+) took=(\S+)`)

// upgrade has the current process start another one, and waits until that has taken over and
// the former has ended. It returns how many sessions have moved.
func (u *upgraded) upgrade(t *testing.T) (sessions int) {
	t.Helper()
	before := len(u.takeovers(t))
	if err := syscall.Kill(u.current, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a takeover", func() bool { return len(u.takeovers(t)) > before })
	last := u.takeovers(t)[before]
	old := u.current
	u.current, _ = strconv.Atoi(last[1])
	sessions, _ = strconv.Atoi(last[2])
	eventually(t, "the end of the old process", func() bool { return ended(old) })
	return sessions
}

// ended reports whether a process has ended.
func ended(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombie(pid) }

func (u *upgraded) takeovers(t *testing.T) [][]string {
	text, err := os.ReadFile(u.log)
	if err != nil {
		t.Fatal(err)
	}
	return takenOver.FindAllStringSubmatch(string(text), -1)
}

// isZombie reports whether a process has ended and its parent does not wait for it.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

// upgradeModes are queries of clients in all modes.
var upgradeModes = []string{
	"secret=" + mtwiretest.PlainSecret,
	"protocol=intermediate&secret=" + mtwiretest.PlainSecret,
	"secret=dd" + mtwiretest.PlainSecret,
	"secret=" + mtwiretest.FakeTLSSecret,
}

// join connects a client that has had a packet echoed.
func (u *upgraded) join(t *testing.T, query string) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), "tcp://"+u.address+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := echoOnce(conn, 64); err != nil {
		t.Fatal(err)
	}
	return conn
}

// echoOnce sends a packet of that many bytes, and receives it back.
func echoOnce(conn *mtwire.Conn, size int) error { return echoWithin(conn, size, patience) }

func echoWithin(conn *mtwire.Conn, size int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	sent := make([]byte, size+24-(size+24)%16+8)
	rand.Read(sent)
	if err := conn.Send(ctx, sent); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err == nil && !bytes.Equal(p.Payload, sent) {
		err = fmt.Errorf("other bytes have come back, %d of %d", len(p.Payload), len(sent))
	}
	return err
}

// Five upgrades in a row cut no session off, lose, double and reorder no byte, and refuse no
// client: idle sessions, chats and bulk in all modes.
func TestUpgradeKeepsEverySession(t *testing.T) {
	u := startUpgraded(t, patient, "--admin", "unix")
	var idle, all []*mtwire.Conn
	for range 10 {
		for _, query := range upgradeModes {
			idle = append(idle, u.join(t, query))
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var moving sync.WaitGroup
	for i, query := range append(upgradeModes, upgradeModes...) {
		conn := u.join(t, query)
		all = append(all, conn)
		moving.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				size := 100
				if i < len(upgradeModes) {
					size = 500_000
				} else {
					time.Sleep(time.Millisecond)
				}
				if err := echoOnce(conn, size); err != nil {
					t.Errorf("client %d, message %d: %v", i, n, err)
					return
				}
			}
		})
	}
	visitors := startVisitors(t, u)
	for i := range 5 {
		if sessions := u.upgrade(t); sessions < len(idle)+len(all) {
			t.Errorf("upgrade %d: %d sessions have moved, want at least %d", i, sessions, len(idle)+len(all))
		}
		for _, conn := range idle {
			if err := echoOnce(conn, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	moving.Wait()
	visitors(t)
	syscall.Kill(u.current, syscall.SIGTERM)
	eventually(t, "the end", func() bool { return strings.Contains(readAll(t, u.log), "msg=stopping") })
}

func readAll(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// startVisitors starts clients that connect one after the other, of which none may fail.
func startVisitors(t *testing.T, u *upgraded) (end func(t *testing.T)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var mu sync.Mutex
	var served int
	var failed []error
	for i := range 3 {
		running.Go(func() {
			for ctx.Err() == nil {
				conn, err := mtwire.Dial(context.Background(), "tcp://"+u.address+"?"+upgradeModes[i%len(upgradeModes)], nil)
				if err == nil {
					err = echoOnce(conn, 100)
					conn.Close()
				}
				mu.Lock()
				if served++; err != nil {
					failed = append(failed, err)
				}
				mu.Unlock()
			}
		})
	}
	t.Cleanup(cancel)
	return func(t *testing.T) {
		t.Helper()
		cancel()
		running.Wait()
		if len(failed) > 0 || served == 0 {
			t.Errorf("%d of %d visitors failed: %v", len(failed), served, failed)
		}
	}
}
