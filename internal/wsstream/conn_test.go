package wsstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
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
)

// dial connects to a WebSocket server that another implementation serves. It passes the
// connection to handle.
func dial(t *testing.T, handle func(ctx context.Context, ws *websocket.Conn)) *Conn {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		ws.SetReadLimit(-1)
		handle(r.Context(), ws)
	}))
	t.Cleanup(server.Close)
	socket, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := Upgrade(t.Context(), socket, Request{Host: "h", Path: "/apiws", Subprotocol: "binary", Origin: "https://o", UserAgent: "u"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo sends back what comes, in messages of several frames.
func echo(ctx context.Context, ws *websocket.Conn) {
	for {
		_, r, err := ws.Reader(ctx)
		if err != nil {
			return
		}
		w, err := ws.Writer(ctx, websocket.MessageBinary)
		if err != nil {
			return
		}
		for n := int64(1); err == nil; n = n*3 + 1 {
			_, err = io.CopyN(w, r, n)
		}
		w.Close()
	}
}

// Bytes arrive as they were sent, both ways, though deadlines end reads at any byte.
func TestDeadlinesEndReadsAnywhere(t *testing.T) {
	conn := dial(t, echo)
	const size = 3_000_000
	sent := sha256.New()
	written := make(chan error, 1)
	go func() {
		r := rand.New(rand.NewPCG(1, 2))
		for left := size; left > 0; {
			p := make([]byte, min(left, 1+r.IntN(150_000)))
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			before := bytes.Clone(p)
			if n, err := conn.Write(p); n != len(p) || err != nil || !bytes.Equal(p, before) {
				written <- fmt.Errorf("%d bytes, changed %v: %w", n, !bytes.Equal(p, before), err)
				return
			}
			sent.Write(p)
			left -= len(p)
		}
		written <- nil
	}()
	received, p, timeouts := sha256.New(), make([]byte, 5_000), 0
	for left, i := size, 0; left > 0; i++ {
		conn.SetReadDeadline(time.Now().Add(time.Duration(i%3) * 20 * time.Microsecond))
		n, err := conn.Read(p[:min(left, 1+i*37%len(p))])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			timeouts++
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
		received.Write(p[:n])
		left -= n
	}
	if err := <-written; err != nil || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) || timeouts == 0 {
		t.Errorf("other bytes came back, after %d timeouts: %v", timeouts, err)
	}
}

// A ping is answered by a Read, also while a Write waits for the peer.
func TestPingsAreAnswered(t *testing.T) {
	pinged := make(chan error, 1)
	conn := dial(t, func(ctx context.Context, ws *websocket.Conn) {
		go ws.Reader(ctx) // sees the pong
		for range 3 {
			if err := ws.Ping(ctx); err != nil {
				pinged <- err
				return
			}
		}
		pinged <- nil
		<-ctx.Done()
	})
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	if err := <-pinged; err != nil {
		t.Error(err)
	}
	conn.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// After CloseWrite the peer's bytes still arrive, and then io.EOF. Nothing more is sent.
func TestCloseWriteLeavesTheOtherDirection(t *testing.T) {
	conn := dial(t, func(ctx context.Context, ws *websocket.Conn) {
		if _, p, err := ws.Read(ctx); string(p) != "last" || err != nil {
			t.Errorf("%q, %v", p, err)
		}
		ws.Write(ctx, websocket.MessageBinary, []byte("answer"))
		_, _, err := ws.Read(ctx) // answers the close frame
		if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Error(err)
		}
	})
	if _, err := conn.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	if b, err := io.ReadAll(conn); string(b) != "answer" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := conn.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// A normal close frame of the peer is io.EOF, another one an error with its status, and the
// end of the connection without one an error inside a message.
func TestThePeersClose(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(ctx context.Context, ws *websocket.Conn)
		want string
	}{
		"normal":     {func(_ context.Context, ws *websocket.Conn) { ws.Close(websocket.StatusNormalClosure, "       404") }, "EOF"},
		"going away": {func(_ context.Context, ws *websocket.Conn) { ws.Close(websocket.StatusGoingAway, "") }, "EOF"},
		"overload": {func(_ context.Context, ws *websocket.Conn) { ws.Close(websocket.StatusTryAgainLater, "\x1b[2J") },
			`the WebSocket was closed with status 1013, reason "\x1b[2J"`},
		"in a message": {func(ctx context.Context, ws *websocket.Conn) {
			w, _ := ws.Writer(ctx, websocket.MessageBinary)
			w.Write(make([]byte, 100_000))
			ws.CloseNow()
		}, "unexpected EOF"},
		"text": {func(ctx context.Context, ws *websocket.Conn) {
			ws.Write(ctx, websocket.MessageText, []byte("hi"))
			ws.Reader(ctx)
		},
			"bad WebSocket frame: a text message"},
	} {
		conn := dial(t, func(ctx context.Context, ws *websocket.Conn) {
			ws.Write(ctx, websocket.MessageBinary, []byte("data"))
			test.end(ctx, ws)
		})
		var err error
		var all []byte
		p := make([]byte, 1000)
		for err == nil {
			var n int
			n, err = conn.Read(p)
			all = append(all, p[:n]...)
		}
		if !strings.HasPrefix(string(all), "data") || err.Error() != test.want {
			t.Errorf("%s: %.20q, %v", name, all, err)
		}
		if _, again := conn.Read(p); again != err {
			t.Errorf("%s: then %v", name, again)
		}
	}
}

// Close sends a close frame, and does not wait for a peer that does not read.
func TestCloseDoesNotWait(t *testing.T) {
	status := make(chan websocket.StatusCode, 1)
	conn := dial(t, func(ctx context.Context, ws *websocket.Conn) {
		_, _, err := ws.Read(ctx)
		status <- websocket.CloseStatus(err)
	})
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if got := <-status; got != websocket.StatusNormalClosure {
		t.Errorf("status %d", got)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}

	ours, theirs := net.Pipe()
	defer theirs.Close()
	blocked := &Conn{Conn: ours}
	wrote := make(chan error, 1)
	go func() {
		_, err := blocked.Write(make([]byte, 1<<20))
		wrote <- err
	}()
	theirs.Read(make([]byte, 1))
	blocked.Close()
	if err := <-wrote; err == nil {
		t.Error("a Write goes on after Close")
	}
}

// An answer that is no WebSocket is an error, whatever follows it.
func TestAnswersThatAreNoWebSocket(t *testing.T) {
	const ok = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	for answer, want := range map[string]string{
		ok + "Sec-WebSocket-Protocol: binary\r\n\r\n":                                                                            "did not upgrade",
		ok + "Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Accept: x\r\n\r\n":                                                 "did not upgrade",
		ok + "Sec-WebSocket-Accept: $\r\n\r\n":                                                                                   "did not echo the sub-protocol",
		ok + "Sec-WebSocket-Accept: $\r\nSec-WebSocket-Protocol: chat\r\n\r\n":                                                   "did not echo the sub-protocol",
		ok + "Sec-WebSocket-Accept: $\r\nSec-WebSocket-Protocol: binary\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n": "extension",
		"HTTP/1.1 302 Found\r\nLocation: https://core.telegram.org/\r\n\r\n":                                                     "302 Found, a redirect",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot there":                                                           "404 Not Found",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20<<10):                                                                   "longer than 16384 bytes",
		"SSH-2.0-OpenSSH\r\n": "malformed",
		"":                    "EOF",
	} {
		ours, theirs := net.Pipe()
		go func() {
			request, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				t.Error(err)
			}
			io.WriteString(theirs, strings.Replace(answer, "$", accept(request.Header.Get("Sec-WebSocket-Key")), 1))
			theirs.Close()
		}()
		conn, err := Upgrade(t.Context(), ours, Request{Host: "h", Path: "/", Subprotocol: "binary"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, %v", answer, conn, err)
		}
	}
}

// What comes with the answer is read first.
func TestBytesBehindTheAnswerAreNotLost(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		request, _ := http.ReadRequest(bufio.NewReader(theirs))
		io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nSec-WebSocket-Protocol: binary\r\nSec-WebSocket-Accept: "+
			accept(request.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n\x82\x05early")
		theirs.Close()
	}()
	conn, err := Upgrade(t.Context(), ours, Request{Host: "h", Path: "/", Subprotocol: "binary"})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); string(b) != "early" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A server that pings without end and reads nothing costs one pong, and neither what it
// sends nor Close waits for that.
func TestEndlessPingsOfAServerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		conn := &Conn{Conn: ours}
		go func() {
			for range 20_000 {
				if _, err := theirs.Write([]byte("\x89\x04ping\x02\x00\x80\x00")); err != nil {
					return
				}
			}
			theirs.Write([]byte("\x82\x05Hello"))
		}()
		b := make([]byte, 64)
		if n, err := conn.Read(b); err != nil || string(b[:n]) != "Hello" {
			t.Errorf("%q, %v", b[:n], err)
		}
		if len(conn.pong) > 2+4+4 {
			t.Errorf("%d bytes of pongs wait", len(conn.pong))
		}
		begun := time.Now()
		conn.Close()
		if took := time.Since(begun); took > closeTime {
			t.Errorf("Close takes %v", took)
		}
	})
}
