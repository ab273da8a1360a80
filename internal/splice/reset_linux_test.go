package splice

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"
)

// A peer that has closed its socket answers the next bytes with a reset, which ends
// the pair at once and not after the linger.
func TestResetAfterTheEndEndsThePair(t *testing.T) {
	for name, treat := range treatments {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			up := Flow{Dst: right, Src: left}
			treat(&up)
			ended := make(chan [2]Result, 1)
			Start(up, Flow{Dst: left, Src: right}, &Config{Poller: startPoller(t), Idle: time.Millisecond, Linger: time.Hour},
				func(up, down Result) { ended <- [2]Result{up, down} })
			server.Close()
			if _, err := io.ReadAll(client); err != nil {
				t.Fatal(err)
			}
			client.Write([]byte("x"))
			select {
			case r := <-ended:
				if !errors.Is(r[0].Err, syscall.EPIPE) && !errors.Is(r[0].Err, syscall.ECONNRESET) || r[1].Err != nil {
					t.Errorf("%+v", r)
				}
			case <-time.After(patience):
				t.Fatal("the pair continues")
			}
		})
	}
}

// After a half-close without a reset the pair continues. The bytes that are written
// to the peer wake watchForReset too, which must not take that for a reset.
func TestEndWithoutAResetGoesOn(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Linger: time.Hour},
		func(up, down Result) { ended <- [2]Result{up, down} })
	server.CloseWrite()
	if _, err := io.ReadAll(client); err != nil {
		t.Fatal(err)
	}
	go func() {
		client.Write(make([]byte, 8<<20)) // more than the sockets hold
		client.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, server); n != 8<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if r := <-ended; r != [2]Result{{8 << 20, nil}, {}} {
		t.Errorf("%+v", r)
	}
}
