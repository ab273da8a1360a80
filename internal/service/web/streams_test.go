package web

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// A watchdog notices whether the streams of clients are accepted.
func TestStreamsThatAreNotAcceptedAreNoticed(t *testing.T) {
	s, err := New(Config{Log: discardLog})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	streams := netx.Watch(s.Streams())
	limit, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := streams.Responds(limit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing accepts: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		defer streams.End()
		_, err := streams.Accept()
		ended <- err
	}()
	for range 3 {
		if err := streams.Responds(t.Context()); err != nil {
			t.Error(err)
		}
	}
	streams.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := streams.Responds(t.Context()); err != nil {
		t.Error(err)
	}
}
