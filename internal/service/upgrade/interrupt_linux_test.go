package upgrade

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// A process that is to end at the moment when the one before begins either takes nothing over, or all
// of it: never a part that ends with it.
func TestAnInterruptedTakeoverHoldsNothing(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 200 {
		conn, other, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Write([]byte{byte(settledMessage)}); err != nil {
			t.Fatal(err)
		}
		settled := false
		_, err = (&Takeover{conn: conn}).Run(ended, nil, func() []string { settled = true; return nil }, nil)
		if other.Close(); settled || !errors.Is(err, ErrInterrupted) {
			t.Fatalf("settled %v: %v", settled, err)
		}
	}
}

// A process that was stopped while it waited for the first message of the new one waits again, and
// learns which process has sent it.
func TestTheSenderIsAwaitedAgainByAProcessThatWasStopped(t *testing.T) {
	own, other, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	defer other.Close()
	tellSenders(own)
	h := &Handover{conn: own, allowed: time.Minute, until: time.Now().Add(-stopTime)}
	own.SetDeadline(h.until)
	if _, err := senderOf(own); !errors.Is(err, os.ErrDeadlineExceeded) || !h.again(err) {
		t.Error(err)
	}
	if _, err := other.Write([]byte{byte(versionMessage)}); err != nil {
		t.Fatal(err)
	}
	if pid, err := senderOf(own); err != nil || pid != os.Getpid() {
		t.Errorf("process %d, %v", pid, err)
	}
	for _, other := range []error{nil, net.ErrClosed} {
		if h.again(other) {
			t.Errorf("%v is taken for a stop", other)
		}
	}
}
