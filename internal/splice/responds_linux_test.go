package splice

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// A poller responds, unless one of its goroutines is blocked.
func TestBlockedPollerDoesNotRespond(t *testing.T) {
	poller, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- poller.Serve(ctx) }()
	defer func() {
		stop()
		<-served
	}()
	for range 3 {
		if err := poller.Responds(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	blocked, release := make(chan bool), make(chan bool)
	poller.Go = func(func()) {
		close(blocked)
		<-release
	}
	if _, ok := poller.Await(conn, func() {}); !ok {
		t.Fatal("not awaited")
	}
	peer.Write([]byte{1})
	<-blocked
	limit, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := poller.Responds(limit); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(release)
	if err := poller.Responds(t.Context()); err != nil {
		t.Error(err)
	}
}
