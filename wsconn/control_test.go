//go:build !js

package wsconn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// eachPipe calls test with the client, and then the server, of an upgraded net.Pipe,
// and the bare other end, in a bubble. masked reports whether the frames of conn are.
func eachPipe(t *testing.T, test func(t *testing.T, conn *Conn, peer net.Conn, masked bool)) {
	t.Run("Client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			client, _ := upgradedPair(t, a, b, time.Second)
			test(t, client, b, true)
		})
	})
	t.Run("Server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			_, server := upgradedPair(t, a, b, time.Second)
			test(t, server, a, false)
		})
	})
}

// frameIn reads one frame.
func frameIn(t *testing.T, r io.Reader) (opcode byte, payload []byte) {
	t.Helper()
	var cursor frameCursor
	var frame []byte
	for len(frame) < 2 || !cursor.atBoundary() {
		if cursor.payload > 0 {
			frame = append(frame, make([]byte, cursor.payload)...)
		} else {
			frame = append(frame, 0)
		}
		last := frame[len(frame)-int(max(cursor.payload, 1)):]
		if _, err := io.ReadFull(r, last); err != nil {
			t.Fatal(err)
		}
		cursor.advance(last)
	}
	header := 2
	switch frame[1] & 0x7f {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	payload = frame[header:]
	if frame[1]&0x80 != 0 {
		var key [4]byte
		copy(key[:], payload)
		payload = payload[4:]
		for i := range payload {
			payload[i] ^= key[i%4]
		}
	}
	return frame[0] & 0x0f, payload
}

// ping writes a ping of the peer of conn.
func ping(t *testing.T, peer net.Conn, payload string, connIsClient bool) {
	t.Helper()
	if _, err := peer.Write(appendControlFrame(nil, opPing, []byte(payload), !connIsClient)); err != nil {
		t.Fatal(err)
	}
}

// A peer that does not read for a while, such as a phone in the middle of a download,
// pings meanwhile. The message arrives, then the pong for the last ping, and then
// the next message; Read goes on returning what the peer sends.
func TestPingDuringABlockedWriteIsAnsweredBehindTheMessage(t *testing.T) {
	eachPipe(t, func(t *testing.T, conn *Conn, peer net.Conn, masked bool) {
		message := bytes.Repeat([]byte("download"), 4<<20) // 32 MiB
		written := make(chan error, 1)
		go func() {
			_, err := conn.Write(message)
			if err == nil {
				_, err = conn.Write([]byte("next"))
			}
			written <- err
		}()
		got := make(chan []byte, 1)
		go func() {
			p := make([]byte, 5)
			if _, err := io.ReadFull(conn, p); err != nil {
				t.Error(err)
			}
			got <- p
			conn.Read(p)
		}()
		synctest.Wait()
		ping(t, peer, "first", masked)
		time.Sleep(8 * time.Second)
		ping(t, peer, "second", masked)
		peer.Write(dataFrame("hello", !masked))
		if p := <-got; string(p) != "hello" {
			t.Errorf("read %q during the blocked Write", p)
		}
		time.Sleep(time.Minute)
		for _, want := range []struct {
			opcode  byte
			payload []byte
		}{{2, message}, {opPong, []byte("second")}, {2, []byte("next")}} {
			opcode, payload := frameIn(t, peer)
			if opcode != want.opcode || !bytes.Equal(payload, want.payload) {
				t.Fatalf("frame %#x with %d bytes, want %#x with %d", opcode, len(payload), want.opcode, len(want.payload))
			}
		}
		if err := <-written; err != nil {
			t.Errorf("Write: %v", err)
		}
	})
}

func dataFrame(payload string, masked bool) []byte {
	frame := appendControlFrame(nil, opPing, []byte(payload), masked)
	frame[0] = 0x82
	return frame
}

// A deadline of Write that has passed is none for the connection: the pong is sent
// when there is time again, and both directions go on.
func TestPongOutlivesAWriteDeadline(t *testing.T) {
	eachPipe(t, func(t *testing.T, conn *Conn, peer net.Conn, masked bool) {
		conn.SetWriteDeadline(time.Now().Add(-time.Second))
		go conn.Read(make([]byte, 1))
		ping(t, peer, "late", masked)
		synctest.Wait()
		conn.SetWriteDeadline(time.Time{})
		if opcode, payload := frameIn(t, peer); opcode != opPong || string(payload) != "late" {
			t.Errorf("frame %#x %q, want a pong", opcode, payload)
		}
		go conn.Write([]byte("still usable"))
		if opcode, payload := frameIn(t, peer); opcode != 2 || string(payload) != "still usable" {
			t.Errorf("frame %#x %q", opcode, payload)
		}
	})
}

// The peer never reads the pong. synctest fails the test if a goroutine remains.
func TestCloseEndsAWaitingPong(t *testing.T) {
	eachPipe(t, func(t *testing.T, conn *Conn, peer net.Conn, masked bool) {
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			failed <- err
		}()
		ping(t, peer, "unread", masked)
		synctest.Wait()
		start := time.Now()
		conn.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) || time.Since(start) > time.Second {
			t.Errorf("Read: %v, after %v", err, time.Since(start))
		}
	})
}

// Pings and pongs between messages of several writes each, in both directions at once,
// damage none.
func TestPongsKeepOrderUnderLoad(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		sent := make(chan error, 1)
		go func() {
			for range 200 {
				if _, err := from.Write(make([]byte, 70_000)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		go io.Copy(io.Discard, from)
		for i := range 200 {
			if i%2 == 0 {
				to.stream.sendPing(nil)
			}
			if _, err := io.ReadFull(to, make([]byte, 70_000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}
