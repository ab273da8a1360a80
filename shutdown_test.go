package mtwire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// serving is a Listener whose Serve runs with a handler.
type serving struct {
	*mtwire.Listener
	ended chan error // Serve's
}

func startServing(t *testing.T, config *mtwire.ListenConfig, handle func(context.Context, *mtwire.Conn)) serving {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := serving{ln, make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- ln.Serve(ctx, handle)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// A handler that has received a packet answers it after the beginning of Shutdown, over
// every transport. Then its Receive returns ErrShutdown, and Shutdown nil.
func TestShutdownLetsHandlersAnswer(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range mtwiretest.DirectModes() {
		received, release := make(chan struct{}), make(chan struct{})
		last := make(chan error, 1)
		s := startServing(t, &mtwire.ListenConfig{TLS: serverTLS, ObfuscatedFull: true}, func(ctx context.Context, conn *mtwire.Conn) {
			p, err := conn.Receive(ctx)
			if err != nil {
				last <- err
				return
			}
			close(received)
			<-release
			if err := conn.Send(ctx, p.Payload); err != nil {
				t.Errorf("%s: Send: %v", mode.URL, err)
			}
			_, err = conn.Receive(ctx)
			last <- err
		})
		client, err := mtwire.Dial(short(t), mode.Endpoint(s.Addr()), &mtwire.DialConfig{TLS: clientTLS, ObfuscatedFull: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(short(t), encrypted(3)); err != nil {
			t.Fatal(err)
		}
		<-received
		shut := make(chan error, 1)
		go func() { shut <- s.Shutdown(short(t)) }()
		close(release)
		if _, err := client.Receive(short(t)); err != nil {
			t.Errorf("%s: no answer: %v", mode.URL, err)
		}
		go client.Receive(short(t)) // the close frame of a WebSocket
		if err := <-last; !errors.Is(err, mtwire.ErrShutdown) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the last Receive: %v", mode.URL, err)
		}
		if err := <-shut; err != nil {
			t.Errorf("%s: Shutdown: %v", mode.URL, err)
		}
		if err := <-s.ended; err != mtwire.ErrShutdown {
			t.Errorf("%s: Serve: %v", mode.URL, err)
		}
		client.Close()
	}
}

// Packets that have arrived whole are received before ErrShutdown. A waiting Receive
// ends at once, and so do clients that have sent nothing.
func TestShutdownEndsWhatWaits(t *testing.T) {
	first, release := make(chan struct{}), make(chan struct{})
	got := make(chan error, 10)
	s := startServing(t, nil, func(ctx context.Context, conn *mtwire.Conn) {
		for i := 0; ; i++ {
			_, err := conn.Receive(ctx)
			if got <- err; err != nil {
				return
			}
			if i == 0 {
				close(first)
				<-release
			}
		}
	})
	client, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	packet := append([]byte{10}, make([]byte, 40)...)
	client.Write(append([]byte{0xef}, append(packet, append(packet, packet...)...)...))
	<-first
	silent, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	shut := make(chan error, 1)
	go func() { shut <- s.Shutdown(short(t)) }()
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent client got bytes")
	}
	close(release)
	if err := <-shut; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	close(got)
	packets, ends := 0, 0
	for err := range got {
		switch {
		case err == nil:
			packets++
		case errors.Is(err, mtwire.ErrShutdown):
			ends++
		}
	}
	if packets != 3 || ends != 1 {
		t.Errorf("%d packets and %d ErrShutdown, want 3 and 1", packets, ends)
	}
	if err := s.Shutdown(short(t)); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Shutdown: %v", err)
	}
	if err := s.Serve(short(t), func(context.Context, *mtwire.Conn) {}); err != mtwire.ErrShutdown {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

// When its context ends, Shutdown closes the connections of handlers that go on, and
// waits for them.
func TestShutdownClosesWhatIsLeft(t *testing.T) {
	started, returned := make(chan struct{}), make(chan struct{})
	s := startServing(t, nil, func(_ context.Context, conn *mtwire.Conn) {
		defer close(returned)
		conn.Receive(context.Background())
		close(started)
		for conn.Send(context.Background(), make([]byte, 1<<16)) == nil { // the client does not read
		}
	})
	client, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Write(append([]byte{0xef, 10}, make([]byte, 40)...))
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	<-returned
	io.Copy(io.Discard, client) // ends, because the connection is closed
}
