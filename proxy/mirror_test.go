package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// timedHost closes a connection a fixed time after it was opened, as a web server
// does whose timeout for a request's head is over, and keeps what came.
type timedHost struct {
	timeout time.Duration
	got     bytes.Buffer
	ended   bool // the client has ended its stream
}

func (h *timedHost) serve(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(h.timeout))
	_, err := io.Copy(&h.got, conn)
	h.ended = err == nil
}

// closedByHalf is the end of a pipe, which has no half-close, that is closed by one.
type closedByHalf struct{ addressed }

func (c *closedByHalf) CloseWrite() error { return c.Close() }

// Whatever part of a handshake a client sends, and however it comes, the
// connection is closed when the host closes it: its clock starts when the client
// comes. The host gets every byte, once.
func TestClosingTimeIsTheHosts(t *testing.T) {
	const timeout = 60 * time.Second
	hello := helloOf(t, [16]byte{}, "a.example")
	for name, script := range map[string]func(conn net.Conn) (sent []byte){
		"nothing": func(net.Conn) []byte { return nil },
		"one byte": func(conn net.Conn) []byte {
			conn.Write(hello[:1])
			return hello[:1]
		},
		"five bytes after a while": func(conn net.Conn) []byte {
			time.Sleep(20 * time.Second)
			conn.Write(hello[:5])
			return hello[:5]
		},
		"half a hello": func(conn net.Conn) []byte {
			conn.Write(hello[:len(hello)/2])
			return hello[:len(hello)/2]
		},
		"a trickled hello": func(conn net.Conn) []byte {
			for i := range 50 {
				time.Sleep(time.Second)
				conn.Write(hello[i : i+1])
			}
			return hello[:50]
		},
		"a part of an init payload": func(conn net.Conn) []byte {
			b := initOf(t, [16]byte{}, 1)[:63]
			conn.Write(b)
			return b
		},
	} {
		host := &timedHost{timeout: timeout}
		hosts := map[string]func(net.Conn){"front.test:443": host.serve}
		inBubble(t, Config{Fronts: map[string]Front{"": {Address: "front.test:443"}}}, hosts, func(t *testing.T, b *bubble) {
			begin := time.Now()
			conn, server := net.Pipe()
			b.t.Cleanup(func() { conn.Close() })
			b.handle(&closedByHalf{addressed{server, clientAddress}})
			sent := make(chan []byte, 1)
			go func() { sent <- script(conn) }()
			got, err := io.ReadAll(conn)
			if took := time.Since(begin); took < timeout || took > timeout+300*time.Millisecond || len(got) != 0 {
				t.Errorf("%s: %q, %v after %v", name, got, err, took)
			}
			if want := <-sent; !bytes.Equal(host.got.Bytes(), want) {
				t.Errorf("%s: the host got %d bytes, want %d", name, host.got.Len(), len(want))
			}
		})
	}
}

// A client that authenticates in several pieces gets nothing of what the host
// would send, and the host's connection is closed.
func TestNothingOfTheHostReachesAnAuthenticatedClient(t *testing.T) {
	visits := make(chan struct{}, 1)
	hosts := map[string]func(net.Conn){
		"dc.test:443": echoing(10),
		"front.test:443": func(conn net.Conn) {
			defer func() { visits <- struct{}{} }()
			io.Copy(io.Discard, conn) // until the proxy closes
			conn.Write([]byte("too late"))
		},
	}
	config := Config{Fronts: map[string]Front{"": {Address: "front.test:443"}}, DataCenters: at("dc.test:443")}
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			slow := &slowConn{Conn: b.connect()}
			echo(t, b.joinOn(slow, secret, 4), 3)
			<-visits
			synctest.Wait()
			if s := b.Stats(); s.Authenticated != 1 || s.Unauthenticated != 0 || b.fronted.Len() != 0 || b.pending.Len() != 0 {
				t.Errorf("%+v, %d fronted, %d pending", s, b.fronted.Len(), b.pending.Len())
			}
		})
	}
}

// slowConn sends what is written in pieces, a second apart.
type slowConn struct{ net.Conn }

func (c *slowConn) Write(b []byte) (n int, err error) {
	for rest := b; len(rest) > 0 && err == nil; {
		piece := rest[:min(len(rest), 40)]
		if n > 0 && n < 200 {
			time.Sleep(time.Second)
		}
		_, err = c.Conn.Write(piece)
		n, rest = n+len(piece), rest[len(piece):]
	}
	return n, err
}

// A client that has an answer to its hello and sends nothing more is pending, so
// that it makes room for others, until its init payload comes.
func TestAnsweredHelloIsPendingUntilItsInitPayload(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(10)}
	inBubble(t, Config{DataCenters: at("dc.test:443")}, hosts, func(t *testing.T, b *bubble) {
		client := b.joinOn(b.connect(), mtwiretest.FakeTLSSecret, 4)
		synctest.Wait()
		if b.pending.Len() != 1 {
			t.Errorf("%d pending behind the hello", b.pending.Len())
		}
		echo(t, client, 3)
		if b.pending.Len() != 0 {
			t.Errorf("%d pending behind the init payload", b.pending.Len())
		}
	})
}

// While the key search of a client takes long, the host gets what the client has
// sent, and its answer does not decide. Afterwards it does.
func TestSearchIsNotEndedByTheHostsAnswer(t *testing.T) {
	hello := helloOf(t, [16]byte{1}, "a.example")
	got := make([]byte, len(hello))
	hosts := map[string]func(net.Conn){"front.test:443": func(conn net.Conn) {
		if _, err := io.ReadFull(conn, got); err == nil {
			io.WriteString(conn, "no")
		}
		io.Copy(io.Discard, conn)
	}}
	for _, found := range []bool{false, true} {
		inBubble(t, Config{Fronts: map[string]Front{"": {Address: "front.test:443"}}}, hosts, func(t *testing.T, b *bubble) {
			near, far := net.Pipe()
			defer near.Close()
			ctx, end := context.WithCancelCause(b.ctx)
			defer end(nil)
			s := &session{unauthenticated: &unauthenticated{}, proxy: b.Proxy, socket: &addressed{Conn: far}, start: time.Now()}
			defer b.fronted.Leave(&s.fronted)
			m := newMirror(s, end)
			m.hold(hello)
			synctest.Wait()
			if !bytes.Equal(got, hello) || ctx.Err() != nil {
				t.Errorf("the host got %d bytes, %v", len(got), context.Cause(ctx))
			}
			if !found {
				m.release()
				if context.Cause(ctx) != errHostActed {
					t.Errorf("after the search: %v", context.Cause(ctx))
				}
			}
			host := m.stop()
			if host == nil || found && ctx.Err() != nil {
				t.Fatalf("host %v, %v", host, context.Cause(ctx))
			}
			host.Close()
		})
	}
}
