package netx

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// every sets all that a Liveness can set.
var every = Liveness{Idle: time.Minute, Interval: 10 * time.Second, Count: 3, UserTimeout: time.Minute}

func TestSetLivenessIgnoresConnectionsWithoutATCPSocket(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := SetLiveness(a, every); err != nil {
		t.Error(err)
	}
}

func TestSetLivenessFailsOnAClosedConnection(t *testing.T) {
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	a.Close()
	for _, l := range []Liveness{every, {Idle: -1}, {Count: 1}} {
		if err := SetLiveness(a, l); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	if err := SetLiveness(a, Liveness{}); err != nil {
		t.Errorf("nothing to set: %v", err)
	}
}
