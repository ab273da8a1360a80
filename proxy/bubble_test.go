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

// bubble is a proxy on pipes, for what takes time: its clock moves on when
// everybody waits. It has no Poller, which waits for the kernel.
type bubble struct {
	*Proxy
	t       *testing.T
	log     *logBuffer
	terms   *mtwire.Listener
	ctx     context.Context
	running sync.WaitGroup
}

// inBubble runs test with a proxy that knows mtwiretest.PlainSecret, unless
// config has others. hosts are what it can connect to, by address; nil is one
// that does not answer.
func inBubble(t *testing.T, config Config, hosts map[string]func(net.Conn), test func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, log: &logBuffer{}}
		ctx, cancel := context.WithCancel(context.Background())
		b.ctx = ctx
		if config.Users == nil {
			config.Users = []User{{Name: "everybody", Secret: secretOf(t, mtwiretest.PlainSecret)}}
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
		b.terms = mtwire.NewListener(nil, &b.listen)
		defer func() {
			cancel()
			b.each(func(s *session) { s.abort(errStopping) })
			b.Proxy.running.Wait()
			b.running.Wait()
			if stats := b.Stats(); stats.Open != 0 || stats.Carried != 0 {
				t.Errorf("%+v", stats)
			}
		}()
		test(t, b)
	})
}

// connect returns a client's end of a new connection.
func (b *bubble) connect() net.Conn {
	client, server := net.Pipe()
	b.t.Cleanup(func() { client.Close() })
	s := &session{proxy: b.Proxy, socket: &addressed{server, clientAddress}, start: time.Now()}
	b.add(s)
	go s.run(b.ctx, b.terms)
	return client
}

// join connects a client that knows the secret, in classic, dd or ee mode.
func (b *bubble) join(secret string) *mtwire.Conn {
	b.t.Helper()
	return b.joinOn(b.connect(), secret)
}

// joinOn is join on a connection that is open already.
func (b *bubble) joinOn(client net.Conn, secret string) *mtwire.Conn {
	b.t.Helper()
	conn, err := mtwire.Client(b.ctx, client, mtwire.Endpoint{Secret: secretOf(b.t, secret), DC: 4}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return conn
}

var clientAddress = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4567}

// addressed is a pipe's end that says where the other one is.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a *addressed) RemoteAddr() net.Addr { return a.remote }

// echoing is a data centre that answers so many packets with themselves, and
// then goes on reading.
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

// logBuffer keeps what was logged.
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

// lines are all that have what in them.
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

// last is the last line.
func (l *logBuffer) last() string {
	if all := l.lines(""); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
