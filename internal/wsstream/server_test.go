package wsstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/mtwire/mtwire/internal/loopback"
)

// serveOne serves one WebSocket, and returns a client of another implementation.
func serveOne(t *testing.T, handle func(s *Server)) *websocket.Conn {
	t.Helper()
	served := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsUpgrade(r) {
			t.Error("no upgrade")
			return
		}
		s, err := Accept(w, r, "sub", 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			defer close(served)
			handle(s)
		}()
	}))
	t.Cleanup(server.Close)
	ws, _, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{Subprotocols: []string{"sub"}})
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	if ws.Subprotocol() != "sub" {
		t.Errorf("sub-protocol %q", ws.Subprotocol())
	}
	t.Cleanup(func() {
		ws.CloseNow()
		<-served
	})
	return ws
}

// receiveAll passes messages to handle until an error, and ends s.
func receiveAll(s *Server, handle func([]byte) error) (err error) {
	for err == nil {
		_, err = s.Receive(false, handle)
	}
	s.End()
	return err
}

// Messages of all lengths come as they were sent, both ways, in one message and one piece
// each; deadlines may end a Receive anywhere.
func TestAServersMessages(t *testing.T) {
	ws := serveOne(t, func(s *Server) {
		r := rand.New(rand.NewPCG(1, 2))
		for {
			s.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(100)) * time.Microsecond))
			_, err := s.Receive(r.IntN(2) == 0, func(b []byte) error { return s.Send(b, time.Minute) })
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				s.End()
				return
			}
		}
	})
	message := make([]byte, 1<<20)
	for i := range message {
		message[i] = byte(rand.Uint32())
	}
	for _, n := range []int{0, 1, 15, 125, 126, 127, 4096, readSize - 5, readSize - 4, readSize - 3, 0xffff, 0x10000, 300_000, 1 << 20} {
		go ws.Write(t.Context(), websocket.MessageBinary, message[:n])
		kind, got, err := ws.Read(t.Context())
		if err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, message[:n]) {
			t.Fatalf("%d bytes: %v, %d, %v", n, kind, len(got), err)
		}
	}
	w, _ := ws.Writer(t.Context(), websocket.MessageBinary)
	for part := range strings.SplitSeq("in several frames", " ") {
		io.WriteString(w, part)
	}
	w.Close()
	if _, got, err := ws.Read(t.Context()); string(got) != "inseveralframes" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// What a peer may not send ends the WebSocket with the status for it.
func TestAServersCloseStatus(t *testing.T) {
	for name, c := range map[string]struct {
		send func(ws *websocket.Conn) error
		want websocket.StatusCode
	}{
		"text": {func(ws *websocket.Conn) error { return ws.Write(t.Context(), websocket.MessageText, []byte("x")) }, websocket.StatusUnsupportedData},
		"long": {func(ws *websocket.Conn) error {
			return ws.Write(t.Context(), websocket.MessageBinary, make([]byte, 1<<20+1))
		}, websocket.StatusMessageTooBig},
		"the caller's": {func(ws *websocket.Conn) error {
			return ws.Write(t.Context(), websocket.MessageBinary, []byte("bad"))
		}, websocket.StatusPolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			ws := serveOne(t, func(s *Server) {
				ended <- receiveAll(s, func([]byte) error {
					s.Close(StatusPolicyViolation)
					return errors.New("bad")
				})
			})
			go c.send(ws)
			if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != c.want {
				t.Errorf("%v, want status %v", err, c.want)
			}
			if err := <-ended; err == nil {
				t.Error("the server's error is nil")
			}
		})
	}
}

// A close frame of the peer is answered with the same status, and is the error of Receive.
func TestAPeersCloseFrameIsAnswered(t *testing.T) {
	for status, reason := range map[websocket.StatusCode]string{websocket.StatusNormalClosure: "", websocket.StatusInternalError: "reason", 3001: "", websocket.StatusNoStatusRcvd: ""} {
		ended := make(chan error, 1)
		ws := serveOne(t, func(s *Server) { ended <- receiveAll(s, nil) })
		if err := ws.Close(status, reason); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
		var closed *CloseError
		if err := <-ended; !errors.As(err, &closed) || closed.Status != int(status) || closed.Reason != reason {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// pipe returns a server and the other end of its connection. In a bubble of synctest.
func pipe(t *testing.T) (*Server, net.Conn) {
	here, there := net.Pipe()
	t.Cleanup(func() { there.Close() })
	return NewServer(here, nil, 1000), there
}

// A close frame without a valid status is a protocol error.
func TestCloseFramesWithoutAValidStatus(t *testing.T) {
	for _, payload := range [][]byte{{3}, {3, 0xe7}, {3, 0xec}, {3, 0xed}, {3, 0xee}, {3, 0xf7}, {0xb, 0xb7}, {0x13, 0x88}} {
		s, peer := pipe(t)
		go peer.Write(clientFrame(0x88, payload))
		answer := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(peer)
			answer <- b
		}()
		if err := receiveAll(s, nil); !errors.Is(err, ErrFrame) {
			t.Errorf("% x: %v", payload, err)
		}
		if b := <-answer; !bytes.Equal(b, []byte{0x88, 2, 3, 0xea}) {
			t.Errorf("% x: answer % x", payload, b)
		}
	}
}

// A ping is answered by a Receive, also while a Send waits for the peer: behind its message. A
// newer ping takes the place of an older one that waits.
func TestAServerAnswersPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := pipe(t)
		go receiveAll(s, nil)
		go s.Send([]byte("message"), time.Minute)
		synctest.Wait()
		peer.Write(clientFrame(0x89, []byte("1")))
		peer.Write(clientFrame(0x89, []byte("2")))
		synctest.Wait()
		want := append(append([]byte{0x82, 7}, "message"...), 0x8a, 1, '2')
		got := make([]byte, len(want))
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("% x, %v", got, err)
		}
		peer.Close()
	})
}

// deadlined is a connection that keeps its last write deadline.
type deadlined struct {
	net.Conn
	last time.Time
}

func (d *deadlined) SetWriteDeadline(t time.Time) error {
	d.last = t
	return d.Conn.SetWriteDeadline(t)
}

// Behind a message, and behind a control frame, there is no deadline of writes: with one that
// has passed TLS could not answer an update of the peer's keys, and would end.
func TestNoWriteDeadlineIsLeft(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	go io.Copy(io.Discard, there)
	conn := &deadlined{Conn: here}
	s := NewServer(conn, nil, 1000)
	for name, write := range map[string]func(){
		"message": func() { s.Send([]byte("x"), time.Minute) }, "ping": func() { s.Ping() },
	} {
		if write(); !conn.last.IsZero() {
			t.Errorf("a %s leaves %v", name, conn.last)
		}
	}
	s.CloseNow()
}

// A peer that reads nothing ends the connection: five seconds after a control frame, and after
// a message at the limit for it.
func TestAServersWritesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := pipe(t)
		start := time.Now()
		go peer.Write(clientFrame(0x89, nil))
		if receiveAll(s, nil); time.Since(start) != controlTime {
			t.Errorf("a pong: %v", time.Since(start))
		}
		s, _ = pipe(t)
		start = time.Now()
		if err := s.Send(make([]byte, 40_000), time.Minute); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("a message: %v after %v", err, time.Since(start))
		}
		if err := s.Send([]byte("x"), time.Minute); err == nil {
			t.Error("a message after it")
		}
		s.CloseNow()
	})
}

// Ping reports false if the last one was not answered.
func TestAServersPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := pipe(t)
		go receiveAll(s, nil)
		for i := range byte(3) {
			alive := make(chan bool, 1)
			go func() { alive <- s.Ping() }()
			frame := make([]byte, 6)
			if _, err := io.ReadFull(peer, frame); err != nil || !<-alive || !bytes.Equal(frame, []byte{0x89, 4, 0, 0, 0, i + 1}) {
				t.Fatalf("% x, %v", frame, err)
			}
			if i < 2 {
				peer.Write(clientFrame(0x8a, []byte("other")))
				peer.Write(clientFrame(0x8a, frame[2:]))
				synctest.Wait()
			}
		}
		peer.Write(clientFrame(0x8a, []byte{0, 0, 0, 2})) // not of the last one
		synctest.Wait()
		if s.Ping() {
			t.Error("a ping without an answer to the last one")
		}
		peer.Close()
	})
}

// The answer to a ping may be behind a long message, of which parts come meanwhile.
func TestAPeerThatSendsAMessageIsNotPingedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := pipe(t)
		go receiveAll(s, nil)
		go io.Copy(io.Discard, peer)
		message := clientFrame(0x82, make([]byte, 100))
		for i := range 3 {
			if !s.Ping() {
				t.Fatalf("ping %d has failed", i)
			}
			peer.Write(message[i*30 : i*30+30])
			synctest.Wait()
		}
		peer.Close()
	})
}

// End waits five seconds for the peer's close frame, and discards messages until then. What is
// not finished is not waited for.
func TestAServersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answer := range []bool{true, false} {
			s, peer := pipe(t)
			go func() {
				io.ReadFull(peer, make([]byte, 4))
				for range 3 {
					peer.Write(clientFrame(0x82, []byte("late")))
					time.Sleep(time.Second)
				}
				if answer {
					peer.Write(clientFrame(0x88, []byte{3, 0xe8}))
				}
				io.Copy(io.Discard, peer)
			}()
			start := time.Now()
			s.Close(StatusNormal)
			if err := s.Send([]byte("more"), time.Minute); err == nil {
				t.Error("a message behind the close frame")
			}
			s.End()
			want := endTime
			if answer {
				want = 3 * time.Second
			}
			if d := time.Since(start); d != want {
				t.Errorf("%v, want %v", d, want)
			}
		}
		s, _ := pipe(t)
		start := time.Now()
		if s.End(); time.Since(start) != 0 {
			t.Error("without a close frame", time.Since(start))
		}
	})
}

// The answer to a close frame waits for a message that the peer reads, and not for ever.
func TestAServersEndLetsAMessageEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, reads := range []bool{true, false} {
			s, peer := pipe(t)
			go s.Send(make([]byte, 1000), time.Minute)
			synctest.Wait()
			go peer.Write(clientFrame(0x88, nil))
			ended := make(chan time.Time, 1)
			start := time.Now()
			go func() {
				receiveAll(s, nil)
				ended <- time.Now()
			}()
			synctest.Wait()
			if reads {
				b, err := io.ReadAll(peer)
				if len(b) != 4+1000+2 || !bytes.HasSuffix(b, []byte{0x88, 0}) || err != nil {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			}
			d := (<-ended).Sub(start)
			if reads && d != 0 || !reads && d != endTime {
				t.Errorf("ended after %v", d)
			}
		}
	})
}

// A ResponseWriter without a connection gets an answer.
func TestAcceptNeedsAConnection(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(context.Background(), "GET", "/", nil)
	if _, err := Accept(w, r, "sub", 1); err == nil || w.Code != http.StatusNotImplemented {
		t.Error(err, w.Code)
	}
}

// stutter is a connection of which each Read returns a byte at most, and a timeout before
// that.
type stutter struct {
	net.Conn
	off   bool
	ready bool
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.off {
		return s.Conn.Read(p)
	}
	if s.ready = !s.ready; s.ready {
		return 0, os.ErrDeadlineExceeded
	}
	return s.Conn.Read(p[:min(len(p), 1)])
}

// A timeout at any byte of a record of TLS is none of the WebSocket's errors: the next Receive
// goes on there, over every version of TLS.
func TestTimeoutsInRecordsOfTLS(t *testing.T) {
	certificate, trusting, err := loopback.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		here, there := net.Pipe()
		defer here.Close()
		below := &stutter{Conn: here, off: true}
		config := certificate.Clone()
		trusting.ServerName = "localhost"
		config.MaxVersion = version
		server, client := tls.Server(below, config), tls.Client(there, trusting)
		go func() {
			client.Handshake()
			for _, n := range []int{0, 1, 100, 3000, 0, 17_000} {
				client.Write(clientFrame(0x82, bytes.Repeat([]byte{byte(n)}, n)))
			}
			client.Close()
		}()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		below.off = false
		s := NewServer(server, nil, 1<<20)
		var lengths []int
		timeouts := 0
		for err = nil; err == nil; {
			_, err = s.Receive(true, func(b []byte) error {
				if bytes.Count(b, []byte{byte(len(b))}) != len(b) {
					t.Error("other bytes")
				}
				lengths = append(lengths, len(b))
				return nil
			})
			if errors.Is(err, os.ErrDeadlineExceeded) {
				timeouts++
				err = nil
			}
		}
		if err != io.EOF || fmt.Sprint(lengths) != "[0 1 100 3000 0 17000]" || timeouts < 20_000 {
			t.Errorf("TLS %x: %v, messages of %v, after %d timeouts", version, err, lengths, timeouts)
		}
	}
}
