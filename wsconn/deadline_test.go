//go:build !js

package wsconn

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A deadline that passes between frames loses no data.
func TestIdleReadDeadlineCanBeRetried(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		p := make([]byte, 10)
		for range 3 {
			failed := make(chan error, 1)
			go func() {
				_, err := to.Read(p)
				failed <- err
			}()
			if err := to.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; !isTimeout(err) {
				t.Fatalf("read: %v, want a timeout", err)
			}
		}
		to.SetReadDeadline(time.Time{})
		from.Write([]byte("still here"))
		if n, err := io.ReadFull(to, p); err != nil || string(p[:n]) != "still here" {
			t.Errorf("read %q, %v", p[:n], err)
		}
	})
}

// ErrBroken is no timeout, so that a loop which retries after timeouts ends.
func TestReadDeadlineInsideAFrameBreaksTheDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		client, _ := upgradedPair(t, a, b, time.Second)
		defer client.Close()
		go b.Write([]byte("\x82\x05lo"))
		client.SetReadDeadline(time.Now().Add(time.Second))
		p := make([]byte, 10)
		if _, err := client.Read(p); !isTimeout(err) {
			t.Fatalf("first read: %v, want a timeout", err)
		}
		client.SetReadDeadline(time.Time{})
		go b.Write([]byte("ngx"))
		for range 2 {
			if n, err := client.Read(p); n != 0 || err != ErrBroken {
				t.Fatalf("later read: %d, %v, want ErrBroken", n, err)
			}
		}
		go io.Copy(io.Discard, b)
		if _, err := client.Write(p); err != nil {
			t.Errorf("the other direction: %v", err)
		}
	})
}

// A deadline unblocks a Write that the peer does not read. If the deadline has
// passed before Write, the direction stays usable.
func TestWriteDeadlineInsideAFrameBreaksTheDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		client, server := upgradedPair(t, a, b, time.Second)
		client.SetWriteDeadline(time.Now().Add(-time.Second))
		if n, err := client.Write([]byte("x")); n != 0 || !isTimeout(err) {
			t.Fatalf("write: %d, %v, want a timeout", n, err)
		}
		client.SetWriteDeadline(time.Time{})
		go client.Write([]byte("x"))
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		client.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := client.Write(make([]byte, 100)); n != 0 || !isTimeout(err) {
			t.Fatalf("write: %d, %v, want a timeout", n, err)
		}
		client.SetDeadline(time.Time{})
		if n, err := client.Write([]byte("x")); n != 0 || err != ErrBroken {
			t.Errorf("later write: %d, %v, want ErrBroken", n, err)
		}
		if err := client.CloseTransportError(404); !errors.Is(err, ErrBroken) {
			t.Errorf("close frame cannot be sent, and the error is %v", err)
		}
	})
}
