//go:build !js

package webproxy

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// A stream is a net.Conn as package net documents it, at both ends.
func TestStreamsAreConnections(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			relay := newRelay(t, carrier, true, nil)
			client := relay.dial(t, nil)
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c1, err = client.Open(t.Context())
				if err != nil {
					return nil, nil, nil, err
				}
				c2, err = relay.Accept()
				return c1, c2, func() { c1.Close(); c2.Close() }, err
			})
		})
	}
}

// What was written before Close arrives, and then EOF. Writes fail at the other
// end, once the CLOSE has come.
func TestCloseSendsWhatWasWritten(t *testing.T) {
	eachCarrier(t, func(t *testing.T, carrier Carrier, http2 bool) {
		relay := newRelay(t, carrier, http2, nil)
		client := relay.dial(t, nil)
		for _, reverse := range []bool{false, true} {
			from, to := pair(t, client, relay)
			if reverse {
				from, to = to, from
			}
			text := make([]byte, 3_000_000)
			if n, err := from.Write(text); n != len(text) || err != nil {
				t.Fatal(n, err)
			}
			if err := from.Close(); err != nil {
				t.Fatal(err)
			}
			to.SetDeadline(time.Now().Add(hangTime))
			if b, err := io.ReadAll(to); err != nil || len(b) != len(text) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if n, err := to.Write([]byte("x")); n != 0 || err == nil {
				t.Errorf("write to a closed stream: %d, %v", n, err)
			}
			if _, err := from.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if _, err := from.Read([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if err := from.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("second Close: %v", err)
			}
			to.Close()
		}
		eventually(t, "the streams to be gone", func() bool { return relay.Stats().Streams == 0 && relay.Stats().Up == 0 })
	})
}

// pair opens a stream and returns its two ends. The relay's end has the client's
// address without a port, and the user.
func pair(t *testing.T, client *Client, relay *relay) (net.Conn, net.Conn) {
	t.Helper()
	c, err := client.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := relay.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := accepted.(*Conn)
	if s.User() != "u" || s.Secret() != relay.link.Secret || s.RemoteAddr().String() != "127.0.0.1:0" || s.StreamID() != c.StreamID() ||
		s.LocalAddr().String() != "example.com:443" || c.RemoteAddr().Network() != "web" {
		t.Errorf("user %q, from %v to %v", s.User(), s.RemoteAddr(), s.LocalAddr())
	}
	return c, s
}

// A session's end is an error of its streams, and no EOF: their bytes may be
// incomplete.
func TestTheSessionsEndIsAnErrorOfItsStreams(t *testing.T) {
	eachCarrier(t, func(t *testing.T, carrier Carrier, http2 bool) {
		relay := newRelay(t, carrier, http2, nil)
		client := relay.dial(t, nil)
		_, accepted := pair(t, client, relay)
		defer accepted.Close()
		failed := make(chan error, 1)
		go func() {
			_, err := accepted.Read(make([]byte, 1))
			failed <- err
		}()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; err == nil || err == io.EOF && carrier != WebSocketLanes {
			t.Errorf("read: %v", err)
		}
		if _, err := client.Open(t.Context()); err == nil {
			t.Error("a stream is opened in a session that has ended")
		}
		eventually(t, "the session to be gone", func() bool { return relay.Stats().Sessions == 0 })
	})
}

// When a relay ends, the sessions of its clients do, with the site's 404 as the cause,
// or the loss of a socket. A new one cannot be made.
func TestARelaysEndIsItsClientsSessionsEnd(t *testing.T) {
	eachCarrier(t, func(t *testing.T, carrier Carrier, http2 bool) {
		relay := newRelay(t, carrier, http2, nil)
		client := relay.dial(t, nil)
		conn, accepted := pair(t, client, relay)
		relay.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the stream goes on")
		}
		accepted.Close()
		var status *StatusError
		if err := client.Err(); !carrier.sockets() && (!errors.As(err, &status) || status.Status != 404) {
			t.Error(err)
		}
		if _, err := Dial(t.Context(), relay.link, relay.config()); err == nil {
			t.Error("a closed server makes a session")
		}
	})
}
