package mtwire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/wsconn"
)

// The time limit of a handshake starts with the client's first byte: a client may be silent
// for a day, and then has 10 to 15 seconds, even if it sends a byte each second.
func TestHandshakeTimeoutStartsWithTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, nil)
		defer server.Close()
		go func() {
			time.Sleep(24 * time.Hour)
			far.Write(unhex("eeeeeeee04000000"))
			far.Write(unhex("01020304"))
		}()
		if p, err := server.Receive(context.Background()); err != nil || len(p.Payload) != 4 {
			t.Errorf("after a day of silence: %+v, %v", p, err)
		}
		far.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, nil)
		defer server.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, err := far.Write([]byte{1}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		err := server.Handshake(context.Background())
		if took := time.Since(start); !errors.Is(err, mtwire.ErrHandshakeTimeout) || took < 10*time.Second || took > 15*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		far.Close()
		<-ended
	})
}

// A client may be silent for an hour between its FakeTLS hello and its init payload, as
// official clients are that open connections in advance. A Receive that its context
// ended there can be called again.
func TestClientMayBeSilentAfterItsHello(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			pieces := &inPieces{Conn: far}
			client, err := mtwire.Client(context.Background(), pieces, mtwire.Endpoint{Secret: secret}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Hour)
			pieces.cut = true
			client.Send(context.Background(), encrypted(3))
		}()
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("while it is silent: %v", err)
			}
			cancel()
		}
		if p, err := server.Receive(context.Background()); err != nil || len(p.Payload) != 24+3*16 {
			t.Errorf("after an hour: %d bytes, %v", len(p.Payload), err)
		}
		<-sent
		server.Close()
	})
}

// inPieces is a connection that writes in four pieces, with a second after each, if cut is
// set.
type inPieces struct {
	net.Conn
	cut bool
}

func (p *inPieces) Write(b []byte) (int, error) {
	if !p.cut {
		return p.Conn.Write(b)
	}
	const pieces = 4
	for i := range pieces {
		if _, err := p.Conn.Write(b[i*len(b)/pieces : (i+1)*len(b)/pieces]); err != nil {
			return 0, err
		}
		time.Sleep(time.Second)
	}
	return len(b), nil
}

// A client that is silent inside its WebSocket, and then sends only a part of an init
// payload, is ended by HandshakeTimeout and not by a context.
func TestSlowInitPayloadInAWebSocketTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, nil)
		upgraded := make(chan struct{})
		done := make(chan struct{})
		go func() {
			dial := func(context.Context, string, string) (net.Conn, error) { return far, nil }
			ws, err := wsconn.Dial(context.Background(), "ws://dc.example/apiws", &wsconn.DialConfig{DialContext: dial})
			if err != nil {
				t.Error(err)
				return
			}
			<-upgraded
			ws.Write([]byte{1})
			<-done
			ws.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // longer than HandshakeTimeout
		defer cancel()
		if err := server.Handshake(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while it is silent: %v", err)
		}
		close(upgraded)
		if err := server.Handshake(context.Background()); !errors.Is(err, mtwire.ErrHandshakeTimeout) {
			t.Errorf("after a part: %v", err)
		}
		close(done)
		server.Close()
	})
}

// A client that stops inside the handshake of TLS or WebSocket is ended by
// HandshakeTimeout, or by the context. Then the handshake is over: later calls return an
// error that is not a context's.
func TestInnerHandshakeCannotBeResumed(t *testing.T) {
	serverTLS, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Domain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string][]byte{"TLS": hello, "WebSocket": []byte("GET /apiws HTTP/1.1\r\n")} {
		begin := func() *mtwire.Conn {
			near, far := net.Pipe()
			go far.Write(first)
			go io.Copy(io.Discard, far)
			return mtwire.Server(near, &mtwire.ListenConfig{TLS: serverTLS})
		}
		synctest.Test(t, func(t *testing.T) {
			server := begin()
			if _, err := server.Receive(context.Background()); !errors.Is(err, mtwire.ErrHandshakeTimeout) {
				t.Errorf("%s: %v", name, err)
			}
			server.Close()

			server = begin()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
			start := time.Now()
			if _, err := server.Receive(context.Background()); err == nil || errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
				t.Errorf("%s, again: %v, after %v", name, err, time.Since(start))
			}
			server.Close()
		})
	}
}
