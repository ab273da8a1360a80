package fronting

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// "No goroutine leak": what a test started is gone when all are over.
func TestMain(m *testing.M) {
	code := m.Run()
	left := ours()
	for begin := time.Now(); left != "" && time.Since(begin) < 10*time.Second; left = ours() {
		time.Sleep(10 * time.Millisecond)
	}
	if left != "" {
		fmt.Printf("goroutines are left:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// ours returns the stacks of all goroutines in this module, but its caller's.
func ours() (stacks string) {
	b := make([]byte, 1<<20)
	for _, stack := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")[1:] {
		if strings.Contains(stack, "github.com/mtwire/") {
			stacks += stack + "\n\n"
		}
	}
	return stacks
}

// patience is far longer than anything takes that works.
const patience = 30 * time.Second

// newFront returns a Front that logs to the returned buffer.
func newPool(t *testing.T, config Config) (*Pool, *lockedBuffer) {
	t.Helper()
	log := new(lockedBuffer)
	config.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p, log
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve runs a host on loopback. Each connection gets handle, and is closed
// after it.
func serve(t *testing.T, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				handle(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return ln.Addr().String()
}

// echo sends back what comes, after a word that says who it is.
func echo(word string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		io.WriteString(conn, word)
		io.Copy(conn, conn)
	}
}

// pair returns two ends of a TCP connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	client.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// outcome is what Pipe returned.
type outcome struct {
	Result
	err error
}

// start runs a Pipe. It is waited for at the end of the test.
func start(t *testing.T, pipe func() (Result, error)) <-chan outcome {
	t.Helper()
	done, over := make(chan outcome, 1), make(chan struct{})
	go func() {
		defer close(over)
		r, err := pipe()
		done <- outcome{r, err}
	}()
	t.Cleanup(func() { <-over })
	return done
}

// stranger is a client that p pipes.
func tunneled(t *testing.T, p *Pool) (*net.TCPConn, <-chan outcome) {
	t.Helper()
	client, server := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := start(t, func() (Result, error) { return p.Tunnel(ctx, server, nil) })
	t.Cleanup(cancel)
	return client, done
}

// expect reads exactly want.
func expect(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v, want %q", got[:n], err, want)
	}
}

// expectEnd reads the end of the stream.
func expectEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v, want the end", rest, err)
	}
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// only returns the first host of p.
func only(p *Pool) *host { return p.hosts.Load().hosts[0] }
