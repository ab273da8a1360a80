package splice

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sendUrgent sends one byte of TCP's urgent data.
func sendUrgent(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil)
		return err != unix.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An urgent byte is no part of the stream, as for a reader of the socket, and does
// not hold up the bytes after it.
func TestUrgentByteHoldsNothingUp(t *testing.T) {
	for name, config := range map[string]*Config{
		"parked":     {Poller: startPoller(t), Idle: 2 * time.Millisecond},
		"not parked": {},
	} {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			ended := make(chan [2]Result, 1)
			Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, config,
				func(up, down Result) { ended <- [2]Result{up, down} })
			pass := func(text string) {
				got := make([]byte, len(text))
				server.SetReadDeadline(time.Now().Add(patience))
				if n, err := io.ReadFull(server, got); err != nil || string(got) != text {
					t.Fatalf("%q of %q: %v", got[:n], text, err)
				}
			}
			client.Write([]byte("before, "))
			pass("before, ")
			sendUrgent(t, client)
			client.Write([]byte("behind"))
			pass("behind")
			client.CloseWrite()
			server.CloseWrite()
			if r := <-ended; r != [2]Result{{14, nil}, {}} {
				t.Errorf("%+v", r)
			}
		})
	}
}

// An urgent byte is not the end of the stream.
func TestUrgentByteAheadOfTheEndCutsNothingOff(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	client.Write([]byte("before, "))
	sendUrgent(t, client)
	client.Write([]byte("behind"))
	client.CloseWrite()
	ended := make(chan struct{})
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{}, func(Result, Result) { close(ended) })
	server.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(server); err != nil || string(got) != "before, behind" {
		t.Errorf("%q, %v", got, err)
	}
	server.Close()
	<-ended
}

// What is behind an urgent byte that has come before the direction is parked, or with
// the end, comes all the same. The next event would be too late: there is none.
func TestUrgentByteInFrontOfAParkedDirection(t *testing.T) {
	poller := startPoller(t)
	for name, end := range map[string]bool{"without an end": false, "with the end": true} {
		for _, before := range []bool{true, false} {
			client, left := pair(t)
			right, server := pair(t)
			ended := make(chan struct{})
			start := func() {
				Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: endless}, func(Result, Result) { close(ended) })
			}
			if !before {
				start()
			}
			client.Write([]byte("A"))
			sendUrgent(t, client)
			client.Write([]byte("B"))
			if end {
				client.CloseWrite()
			}
			if before {
				time.Sleep(10 * time.Millisecond) // all of it has come
				start()
			}
			server.SetReadDeadline(time.Now().Add(patience))
			got := make([]byte, 2)
			if n, err := io.ReadFull(server, got); err != nil || string(got) != "AB" {
				t.Errorf("%s: %q, %v", name, got[:n], err)
			}
			if end {
				if n, err := server.Read(got); err != io.EOF {
					t.Errorf("%s: %d bytes, %v", name, n, err)
				}
			}
			client.Close()
			server.Close()
			<-ended
		}
	}
}
