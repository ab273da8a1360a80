package relay_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// userTimeout returns how long a peer may acknowledge nothing: TCP_USER_TIMEOUT.
func userTimeout(t *testing.T, conn net.Conn) (limit time.Duration) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		n, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, 0x12)
		if err != nil {
			t.Error(err)
		}
		limit = time.Duration(n) * time.Millisecond
	})
	return limit
}

// A peer that has gone without an end of its connection, as after a change of networks, is
// given up after two minutes on both sides.
func TestPeersThatHaveGoneAreGivenUp(t *testing.T) {
	for _, format := range []string{"tcp://HOST:PORT", "ws://HOST:PORT/apiws", "http://HOST:PORT/api"} {
		var dialled net.Conn
		r, err := relay.New(relay.Config{
			To: []mtwire.Endpoint{endpoint(t, format, listen(t, nil, serve))},
			Dial: &mtwire.DialConfig{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				dialled = conn
				return conn, err
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ln := r.Listener(socket(t, "tcp", "127.0.0.1:0"))
		client, err := mtwire.Dial(t.Context(), "tcp://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan bool)
		go func() {
			r.Handle(context.Background(), mtwire.Server(accepted, nil))
			close(ended)
		}()
		if !answers(t, client) {
			t.Error("no answer")
		}
		for side, conn := range map[string]net.Conn{"client": accepted, "server": dialled} {
			if limit := userTimeout(t, conn); limit != 2*time.Minute {
				t.Errorf("%s: %s has %v", format, side, limit)
			}
		}
		client.Close()
		<-ended
		ln.Close()
	}
}
