//go:build !js

package wsconn

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// eachPinging calls test with the client, and then the server, that pings every
// minute, and its peer, in a bubble.
func eachPinging(t *testing.T, test func(t *testing.T, conn, peer *Conn, below net.Conn)) {
	t.Run("Client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			client, server := upgradedWith(t, a, b, &DialConfig{PingInterval: time.Minute}, nil)
			test(t, client, server, b)
		})
	})
	t.Run("Server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			client, server := upgradedWith(t, a, b, &DialConfig{}, &ServerConfig{PingInterval: time.Minute})
			test(t, server, client, a)
		})
	})
}

// A peer that is alive answers the pings, and no data is needed.
func TestPingsKeepASilentConnection(t *testing.T) {
	eachPinging(t, func(t *testing.T, conn, peer *Conn, _ net.Conn) {
		received := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			received <- err
		}()
		go peer.Read(make([]byte, 1))
		time.Sleep(24 * time.Hour)
		go peer.Write([]byte("x"))
		if err := <-received; err != nil {
			t.Errorf("after a day: %v", err)
		}
	})
}

// The peer is gone without a word: it takes bytes and sends none.
func TestUnansweredPingEndsBothDirections(t *testing.T) {
	eachPinging(t, func(t *testing.T, conn, _ *Conn, below net.Conn) {
		pinged := make(chan time.Duration, 1)
		start := time.Now()
		go func() {
			if opcode, _ := frameIn(t, below); opcode == opPing {
				pinged <- time.Since(start)
			}
			for {
				if _, err := below.Read(make([]byte, 100)); err != nil {
					return
				}
			}
		}()
		for range 2 {
			if _, err := conn.Read(make([]byte, 1)); err != ErrPingTimeout {
				t.Fatalf("Read: %v", err)
			}
		}
		if ping, end := <-pinged, time.Since(start); ping > 2*time.Minute || end > 3*time.Minute {
			t.Errorf("pinged after %v, ended after %v", ping, end)
		}
		if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrPingTimeout) {
			t.Errorf("Write: %v", err)
		}
	})
}

// A message that the peer takes slowly, with the ping behind it, and a caller that does
// not read, are no reasons to end a connection.
func TestSlowPeersAndCallersAreNotTimedOut(t *testing.T) {
	eachPinging(t, func(t *testing.T, conn, peer *Conn, _ net.Conn) {
		time.Sleep(time.Hour) // no Read is pending
		written := make(chan error, 1)
		go func() {
			_, err := conn.Write([]byte("slowly taken"))
			written <- err
		}()
		received := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			received <- err
		}()
		time.Sleep(time.Hour) // the peer does not read
		go func() {
			for {
				if _, err := peer.Read(make([]byte, 100)); err != nil {
					return
				}
			}
		}()
		if err := <-written; err != nil {
			t.Errorf("Write: %v", err)
		}
		time.Sleep(time.Hour)
		go peer.Write([]byte("x"))
		if err := <-received; err != nil {
			t.Errorf("Read: %v", err)
		}
	})
}
