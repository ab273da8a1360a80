package faketls

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// pipeEnds returns a server on a pipe, and records arrive on the channel as they are
// written. It closes the channel at the end of the pipe.
func pipeEnds(t *testing.T) (server *Conn, records <-chan []byte) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	arrived := make(chan []byte, 100)
	go func() {
		defer close(arrived)
		for {
			var header [RecordHeaderLength]byte
			if _, err := io.ReadFull(far, header[:]); err != nil {
				return
			}
			body := make([]byte, int(header[3])<<8|int(header[4]))
			if _, err := io.ReadFull(far, body); err != nil {
				return
			}
			arrived <- body
		}
	}()
	return NewConn(near, frame.Server), arrived
}

// A server of TLS 1.3 sends no record shorter than 17 bytes. Fewer bytes are sent with
// the next ones, or alone after 100 ms, or when the connection closes.
func TestServerHoldsShortRecordsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, records := pipeEnds(t)
		write := func(text string) {
			t.Helper()
			if n, err := server.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatal(n, err)
			}
		}
		expect := func(texts ...string) {
			t.Helper()
			synctest.Wait()
			for _, want := range texts {
				select {
				case got := <-records:
					if string(got) != want {
						t.Errorf("record %q, want %q", got, want)
					}
				default:
					t.Errorf("no record, want %q", want)
				}
			}
			if len(records) > 0 {
				t.Errorf("more records: %q", <-records)
			}
		}
		write("ack.")
		write("ack2")
		expect()
		write("an answer")
		expect("ack.ack2an answer")
		write("late")
		time.Sleep(holdTime - time.Millisecond)
		expect()
		time.Sleep(time.Millisecond)
		expect("late")
		time.Sleep(time.Second)
		expect()
		write("last")
		server.Close()
		expect("last")
	})
}

// An error of sending what was held back is that of the next Write, unless it is a
// timeout, after which it is sent with the next bytes.
func TestErrorOfHeldBytesIsTheNextWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, records := pipeEnds(t)
		server.SetWriteDeadline(time.Now().Add(holdTime / 2))
		server.Write([]byte("held"))
		time.Sleep(time.Second)
		if _, err := server.Write(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		server.SetWriteDeadline(time.Time{})
		if n, err := server.Write(make([]byte, 20)); n != 20 || err != nil {
			t.Errorf("again: %d, %v", n, err)
		}
		if got := <-records; !bytes.Equal(got, append([]byte("held"), make([]byte, 20)...)) {
			t.Errorf("%q", got)
		}
		server.Write([]byte("lost"))
		server.NetConn().Close()
		time.Sleep(time.Second)
		if _, err := server.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Close does not wait for a peer that takes nothing, neither alone nor beside a Write
// that is blocked.
func TestCloseDoesNotWaitForAPeerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, blocked := range []bool{false, true} {
			near, far := net.Pipe()
			server := NewConn(near, frame.Server)
			server.Write([]byte("held"))
			if blocked {
				go server.Write(make([]byte, 100))
			}
			synctest.Wait()
			begin := time.Now()
			server.Close()
			if took := time.Since(begin); took > flushTime {
				t.Errorf("blocked %v: Close took %v", blocked, took)
			}
			far.Close()
		}
	})
}
