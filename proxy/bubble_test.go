package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// bubble is a proxy on pipes, for tests of timeouts: inside synctest.Test the
// clock moves on when all goroutines wait. It is not served, so it has no Poller,
// which would wait for the kernel.
type bubble struct {
	*Proxy
	t       *testing.T
	log     *logBuffer
	ctx     context.Context
	running sync.WaitGroup
}

// inBubble runs test with a proxy for mtwiretest.PlainSecret, unless config has
// other users. hosts are what it can connect to, by address; nil is a host that
// does not answer.
func inBubble(t *testing.T, config Config, hosts map[string]func(net.Conn), test func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, log: &logBuffer{}}
		ctx, cancel := context.WithCancel(context.Background())
		b.ctx = ctx
		if config.Users == nil {
			config.Users = []User{user(t, "alice", mtwiretest.PlainSecret)}
		}
		config.Log = b.log.logger()
		config.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			host, known := hosts[address]
			if !known {
				return nil, errors.New("refused")
			}
			if host == nil {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			near, far := net.Pipe()
			b.running.Go(func() {
				defer far.Close()
				host(far)
			})
			return near, nil
		}
		var err error
		if b.Proxy, err = New(config); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cancel()
			closeProxy(t, b.Proxy)
			b.running.Wait()
		}()
		test(t, b)
	})
}

// connect returns a client's end of a new connection.
func (b *bubble) connect() net.Conn {
	client, server := net.Pipe()
	b.t.Cleanup(func() { client.Close() })
	b.handle(&addressed{server, clientAddress})
	return client
}

// join connects a client with a secret for classic, dd or ee mode.
func (b *bubble) join(secret string) *mtwire.Conn {
	b.t.Helper()
	return b.joinOn(b.connect(), secret, 4)
}

// joinOn is join for a data centre, on a connection that is open already.
func (b *bubble) joinOn(client net.Conn, secret string, dc mtwire.DC) *mtwire.Conn {
	b.t.Helper()
	conn, err := mtwire.Client(b.ctx, client, mtwire.Endpoint{Secret: secretOf(b.t, secret), DC: dc}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return conn
}

// closeAll closes all sessions with that cause.
func (b *bubble) closeAll(cause error) {
	b.each(func(s *session) { s.Close(cause) })
	synctest.Wait()
}

var clientAddress = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4567}

// addressed is the end of a pipe with a remote address.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a *addressed) RemoteAddr() net.Addr { return a.remote }

// echoing returns a data centre that answers that many packets with themselves,
// and then discards the rest.
func echoing(packets int) func(net.Conn) {
	return func(conn net.Conn) {
		server := mtwire.Server(conn, nil)
		for range packets {
			p, err := server.Receive(context.Background())
			if err != nil || server.Send(context.Background(), p.Payload) != nil {
				return
			}
		}
		io.Copy(io.Discard, conn)
	}
}

// read reads n bytes, without a limit that a bubble's clock reaches early.
func read(t *testing.T, conn net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	conn.SetReadDeadline(time.Now().Add(time.Hour))
	got, err := io.ReadFull(conn, b)
	if err != nil {
		t.Fatalf("%q, %v", b[:got], err)
	}
	return string(b)
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines returns all lines that contain what.
func (l *logBuffer) lines(what string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, what) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// closed returns the lines of ended connections that contain what.
func (l *logBuffer) closed(what string) (found []string) {
	for _, line := range l.lines("msg=closed") {
		if strings.Contains(line, what) {
			found = append(found, line)
		}
	}
	return found
}

// last returns the last line.
func (l *logBuffer) last() string {
	if all := l.lines(""); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
