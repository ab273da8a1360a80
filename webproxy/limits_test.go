//go:build !js

package webproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// fill writes until nothing more is taken at once, and returns the number of bytes.
func fill(t *testing.T, conn net.Conn) int {
	t.Helper()
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	n, err := conn.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return n
}

// A client that polls nothing costs its streams' windows at most, and its session's
// limit. Other sessions go on, and control frames still pass.
func TestASlowReaderCostsALimitedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const memory = 16 << 20
		h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.Memory = memory * 4 })
		defer h.Close()
		var first net.Conn
		for i := range 4 {
			token := h.session()
			for id := uint32(1); id <= 5; id++ {
				h.want(h.up(token, int(id), batch(open(id))), 204, "upload")
				conn, _ := h.Accept()
				defer conn.Close()
				n := fill(t, conn)
				switch {
				case n > InitialWindow || i == 0 && id == 1 && n != InitialWindow:
					t.Errorf("stream %d of session %d: %d bytes", id, i, n)
				case id == 1 && n < chunkPayload:
					t.Errorf("session %d gets nothing: %d bytes", i, n)
				}
				if first == nil {
					first = conn
				}
			}
		}
		if got := h.Stats().Down; got < maxOutgoing || got > memory+4*chunkPayload+1<<16 {
			t.Errorf("%d bytes wait", got)
		}
	})
}

// A backend that reads nothing makes uploads wait with 503, and nothing of them is
// applied. The upload passes when it reads.
func TestAnUploadThatIsNotReadIsBusy(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	token := h.session()
	mega := make([]byte, MaxPayload)
	sequence := 0
	status := 204
	for id := uint32(1); status == 204 && id < 20; id++ {
		h.want(h.up(token, sequence+1, batch(open(id))), 204, "OPEN")
		sequence++
		for range 4 {
			if status = h.up(token, sequence+1, batch(Frame{DataFrame, id, mega})).StatusCode; status != 204 {
				break
			}
			sequence++
		}
	}
	if got := h.Stats().Up; status != 503 || got > maxIncoming || got < maxIncoming-2*MaxPayload {
		t.Fatalf("status %d, %d bytes wait", status, got)
	}
	h.want(h.up(token, sequence+1, batch(closing(1))), 204, "CLOSE passes")
	conn, _ := h.Accept()
	if n, err := io.Copy(io.Discard, conn); n != 4*MaxPayload || err != nil {
		t.Error(n, err)
	}
	h.want(h.up(token, sequence+2, batch(open(30), Frame{DataFrame, 30, mega})), 204, "the upload, when there is room")
	for range h.Stats().Streams {
		conn.Close()
		if len(h.backlog) > 0 {
			conn, _ = h.Accept()
		}
	}
	conn.Close()
	if got := h.Stats(); got.Up != 0 || got.Streams != 0 {
		t.Errorf("%+v", got)
	}
}

// pipeListener is a net.Listener whose connections are pipes, for time in a bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return hostAddr("pipe") }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// served runs f with a handler behind an http.Server in a bubble.
func served(t *testing.T, carrier Carrier, f func(t *testing.T, h *handler, ln *pipeListener)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, carrier, nil)
		ln := &pipeListener{make(chan net.Conn), make(chan struct{})}
		web := &http.Server{Handler: h}
		done := make(chan error)
		go func() { done <- web.Serve(ln) }()
		f(t, h, ln)
		h.Close()
		web.Close()
		<-done
	})
}

// A body that stops, or never ends, costs its request 30 seconds, or at most 2 MiB;
// the session goes on.
func TestABodyThatNeverEndsIsCutOff(t *testing.T) {
	served(t, HTTPS, func(t *testing.T, h *handler, ln *pipeListener) {
		token := h.session()
		head := "POST /" + pathUp + " HTTP/1.1\r\nHost: " + testHost + "\r\nAuthorization: Bearer " + token + "\r\nContent-Type: " + bodyType + "\r\nX-Up-Seq: 1\r\n"
		start, conn := time.Now(), ln.dial()
		fmt.Fprintf(conn, "%sContent-Length: 100000\r\n\r\nabc", head)
		synctest.Wait()
		if h.Stats().Up != 100000 {
			t.Errorf("%d bytes are reserved", h.Stats().Up)
		}
		io.ReadAll(conn)
		if d := time.Since(start); d < ioTime || d > 2*ioTime {
			t.Errorf("took %v", d)
		}
		conn.Close()

		conn = ln.dial()
		fmt.Fprintf(conn, "%sTransfer-Encoding: chunked\r\n\r\n", head)
		sent := 0
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			http.ReadResponse(bufio.NewReader(conn), nil)
		}()
		for chunk := bytes.Repeat([]byte("x"), 1<<16); ; sent += len(chunk) {
			if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
				break
			}
			if sent > 64<<20 {
				t.Fatal("the body does not end")
			}
		}
		conn.Close()
		<-answered
		synctest.Wait()
		if h.Stats().Up != 0 {
			t.Errorf("%d bytes are left", h.Stats().Up)
		}
		h.want(h.up(token, 1, batch(open(1))), 204, "the session goes on")
	})
}

// A client that takes nothing of an answer has 90 seconds for each part of it. The
// batch is repeated in the next answer.
func TestADeadPollIsCutOff(t *testing.T) {
	served(t, HTTPS, func(t *testing.T, h *handler, ln *pipeListener) {
		token := h.session()
		h.up(token, 1, batch(open(1)))
		stream, _ := h.Accept()
		defer stream.Close()
		stream.Write(make([]byte, 1<<20))
		conn := ln.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "POST /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nX-Down-Cursor: 0\r\nContent-Length: 0\r\n\r\n", pathDown, testHost, token)
		synctest.Wait()
		time.Sleep(requestTime + time.Second)
		if _, err := io.ReadAll(conn); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
		if b := body(t, h.down(token, 0)); len(b) < 256<<10 {
			t.Errorf("%d bytes again", len(b))
		}
	})
}

// A network of some KiB a second carries both the shortest batches up, within the 90 seconds of a
// request, and parts of a batch down.
func TestASlowNetworkCarriesRequests(t *testing.T) {
	served(t, HTTPS, func(t *testing.T, h *handler, ln *pipeListener) {
		token := h.session()
		conn := ln.dial()
		defer conn.Close()
		head := "POST /%s HTTP/1.1\r\nHost: " + testHost + "\r\nAuthorization: Bearer " + token + "\r\n"
		upload := batch(open(1), Frame{DataFrame, 1, make([]byte, smallestBatch)})
		fmt.Fprintf(conn, head+"Content-Type: %s\r\nX-Up-Seq: 1\r\nContent-Length: %d\r\n\r\n", pathUp, bodyType, len(upload))
		for part := range slices.Chunk(upload, 3<<10) {
			time.Sleep(time.Second)
			if _, err := conn.Write(part); err != nil {
				t.Fatal("up:", err)
			}
		}
		r := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 204 {
			t.Fatal("up:", resp, err)
		}
		stream, _ := h.Accept()
		defer stream.Close()
		stream.Write(make([]byte, 1<<20))
		fmt.Fprintf(conn, head+"X-Down-Cursor: 0\r\nContent-Length: 0\r\n\r\n", pathDown)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.ContentLength < firstBatch-chunkPayload {
			t.Fatal("down:", resp, err)
		}
		for n := int64(4 << 10); err == nil; time.Sleep(time.Second) {
			_, err = io.CopyN(io.Discard, resp.Body, n)
		}
		if err != io.EOF {
			t.Error("down:", err)
		}
	})
}

// A socket whose client does not answer pings is gone after 50 seconds, and one that
// does stays.
func TestASilentSocketIsPinged(t *testing.T) {
	served(t, WebSocket, func(t *testing.T, h *handler, ln *pipeListener) {
		token := h.session()
		conn := ln.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s%s\r\n\r\n", pathSocket, testHost, subprotocol, token)
		start, r := time.Now(), bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Fatal(resp, err)
		}
		for i := range 4 {
			ping := make([]byte, 2)
			if _, err := io.ReadFull(r, ping); err != nil || ping[0] != 0x89 {
				t.Fatalf("%x, %v", ping, err)
			}
			payload := make([]byte, ping[1])
			io.ReadFull(r, payload)
			if d := time.Since(start); d != time.Duration(i+1)*pingInterval {
				t.Errorf("ping %d after %v", i, d)
			}
			if i < 3 {
				conn.Write(append([]byte{0x8a, 0x80 | ping[1], 0, 0, 0, 0}, payload...))
			}
		}
		io.Copy(io.Discard, r)
		if d := time.Since(start); d != 5*pingInterval {
			t.Errorf("gone after %v", d)
		}
		synctest.Wait()
		if h.Stats().Sessions != 0 {
			t.Error("the session is left")
		}
	})
}

// A message that stops between its fragments ends its socket, although the client
// answers pings.
func TestAMessageThatStopsIsCutOff(t *testing.T) {
	served(t, WebSocket, func(t *testing.T, h *handler, ln *pipeListener) {
		token := h.session()
		conn := ln.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s%s\r\n\r\n", pathSocket, testHost, subprotocol, token)
		r := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		start := time.Now()
		conn.Write([]byte{0x02, 0x81, 0, 0, 0, 0, 1}) // a fragment of a byte, and not the last one
		for {
			frame := make([]byte, 2)
			if _, err := io.ReadFull(r, frame); err != nil || time.Since(start) > 10*ioTime {
				break
			}
			payload := make([]byte, frame[1])
			io.ReadFull(r, payload)
			conn.Write(append([]byte{0x8a, 0x80 | frame[1], 0, 0, 0, 0}, payload...))
		}
		if d := time.Since(start); d != ioTime {
			t.Errorf("cut off after %v", d)
		}
	})
}
