package fronting

import (
	"bytes"
	"cmp"
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

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/mtwiretest"
)

// TestMain fails if goroutines of this module are left after all tests.
func TestMain(m *testing.M) {
	code := m.Run()
	left := ours()
	for begin := time.Now(); left != "" && time.Since(begin) < testTimeout; left = ours() {
		time.Sleep(10 * time.Millisecond)
	}
	if left != "" {
		fmt.Printf("goroutines are left:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// ours returns the stacks of all goroutines in this module except the caller's.
func ours() (stacks string) {
	b := make([]byte, 1<<20)
	for _, stack := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")[1:] {
		if strings.Contains(stack, "github.com/mtwire/") {
			stacks += stack + "\n\n"
		}
	}
	return stacks
}

// testTimeout bounds the blocking calls of a test.
const testTimeout = 30 * time.Second

// newPool returns a Pool whose log, debug level included, goes to the buffer. If its
// hosts are on the network, it has a Poller.
func newPool(t *testing.T, config Config) (*Pool, *lockedBuffer) {
	t.Helper()
	log := new(lockedBuffer)
	config.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if config.Hosts != nil && config.DialContext == nil {
		p.SetPoller(startPoller(t))
	}
	return p, log
}

// startPoller runs a Poller until the test ends.
func startPoller(t *testing.T) *splice.Poller {
	t.Helper()
	poller, err := splice.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { poller.Serve(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return poller
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

// serve runs a host on loopback. It calls handle for each connection and closes
// the connection afterwards.
func serve(t *testing.T, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loopback.Serve(ln, func(conn net.Conn) {
		conn.SetDeadline(time.Now().Add(testTimeout))
		handle(conn.(*net.TCPConn))
	}))
	return ln.Addr().String()
}

// echo returns a host that sends the greeting and then echoes.
func echo(greeting string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		io.WriteString(conn, greeting)
		io.Copy(conn, conn)
	}
}

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	client.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// outcome is what Tunnel returned.
type outcome struct {
	Result
	err error
}

// start runs tunnel in a goroutine, which the end of the test waits for.
func start(t *testing.T, tunnel func() (Result, error)) <-chan outcome {
	t.Helper()
	done, over := make(chan outcome, 1), make(chan struct{})
	go func() {
		defer close(over)
		r, err := tunnel()
		done <- outcome{r, err}
	}()
	t.Cleanup(func() { <-over })
	return done
}

// tunneled returns a client that p tunnels.
func tunneled(t *testing.T, p *Pool) (*net.TCPConn, <-chan outcome) {
	t.Helper()
	client, server := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := start(t, func() (Result, error) { return p.Tunnel(ctx, server, Client{}, nil) })
	t.Cleanup(cancel)
	return client, done
}

// expect reads as many bytes as want has, and fails if they differ.
func expect(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v, want %q", got[:n], err, want)
	}
}

// expectEnd fails unless the stream ends without further bytes.
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

// connectionsPerRound are the probes, a download, and a connection for the host's
// patience.
const connectionsPerRound = probesPerRound + 2

// browser returns the hello of a browser for that domain.
func browser(t *testing.T, domain string) *faketls.ClientHello {
	t.Helper()
	b, err := browserHello(cmp.Or(domain, "unknown.example"))
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, b)
}

func parsed(t *testing.T, b []byte) *faketls.ClientHello {
	t.Helper()
	hello, _, err := faketls.ParseClientHello(b)
	if err != nil {
		t.Fatal(err)
	}
	return &hello
}

// shapeFor returns the shape for a browser's hello, "" for no known domain.
func shapeFor(t *testing.T, p *Pool, domain string) faketls.ServerHelloShape {
	t.Helper()
	shape, err := p.ServerHello(browser(t, domain))
	if err != nil {
		t.Error(err)
	}
	return shape
}

// measured makes these shapes the last measurements of a host.
func measured(t *testing.T, p *Pool, domain string, shapes ...faketls.ServerHelloShape) {
	t.Helper()
	var answers []answer
	for _, shape := range shapes {
		answers = append(answers, answer{shape: shape, tls13: true, records: 1})
	}
	p.choose(domain).setBrowser(browser(t, domain).Kind(), answers)
}
