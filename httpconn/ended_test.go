package httpconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// openRequest returns a client whose request is open, and how its Receive ends.
func openRequest(t *testing.T, overTLS bool) (client net.Conn, s *Server, ended chan error) {
	t.Helper()
	a, b := tcpPair(t)
	client, server := a, b
	if overTLS {
		forServer, forClient, err := loopback.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		forClient.ServerName = "127.0.0.1"
		client, server = tls.Client(a, forClient), tls.Server(b, forServer)
	}
	s = NewServer(server, &ServerConfig{WaitLimit: time.Hour})
	t.Cleanup(func() { s.Close() })
	go io.WriteString(client, post("Hello MTProt"))
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() {
		_, err := s.Receive(t.Context())
		ended <- err
	}()
	return client, s, ended
}

// The end of a client whose request is open is noticed at once. It may have closed one
// direction only, and gets the response, behind which the connection ends.
func TestTheEndOfAClientIsNoticedWhileItsRequestIsOpen(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		client, s, ended := openRequest(t, overTLS)
		if err := client.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != io.EOF {
			t.Fatalf("%v in place of the end", err)
		}
		if _, err := s.Receive(t.Context()); err != io.EOF {
			t.Errorf("once more: %v", err)
		}
		if err := s.Send(t.Context(), []byte("an answer 12")); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(client)
		if _, body, _ := responseOf(t, br); body != "an answer 12" {
			t.Errorf("response %q", body)
		}
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("then %v", err)
		}
		if err := s.Send(t.Context(), []byte("an answer 12")); err != io.EOF {
			t.Errorf("another response: %v", err)
		}
	}
}

// A reset is noticed, too, and ends the connection.
func TestTheResetOfAClientIsNoticedWhileItsRequestIsOpen(t *testing.T) {
	client, s, ended := openRequest(t, false)
	client.(*net.TCPConn).SetLinger(0)
	client.Close()
	if err := <-ended; err == nil || err == io.EOF {
		t.Errorf("%v in place of a reset", err)
	}
	if err := s.Send(t.Context(), []byte("an answer 12")); err == nil {
		t.Error("a response is sent")
	}
}

// Bytes of the next request, of which a part arrives while one is open, are kept, and the
// wait ends with the response.
func TestTheNextRequestMayBeginWhileOneIsOpen(t *testing.T) {
	client, s, ended := openRequest(t, false)
	next := post("Hello again!")
	io.WriteString(client, next[:20])
	for range 3 {
		if err := s.Send(t.Context(), []byte("an answer 12")); err != nil {
			t.Fatal(err)
		}
		io.WriteString(client, next[20:])
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		io.WriteString(client, next[:20])
		go func() {
			packet, err := s.Receive(t.Context())
			if err == nil && string(packet) != "Hello again!" {
				err = errors.New(string(packet))
			}
			ended <- err
		}()
	}
}

// After CloseWrite nothing is sent, also while MaxInFlight results wait. These are received, and
// then the end.
func TestClientsCloseWrite(t *testing.T) {
	c := newClient(t, handlerServer(t, echo).URL, &ClientConfig{MaxInFlight: 1})
	packet := bytes.Repeat([]byte{1}, 40)
	if err := c.Send(t.Context(), packet); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Send(ctx, packet); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if err := c.CloseWrite(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("once more: %v", err)
	}
	if got, err := c.Receive(t.Context()); err != nil || !bytes.Equal(got, packet) {
		t.Errorf("received % x, %v", got, err)
	}
	for range 2 {
		if _, err := c.Receive(t.Context()); err != io.EOF {
			t.Errorf("in place of the end: %v", err)
		}
	}
}
