package splice

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/netx"
)

// Abort ends a pair with its cause in every state.
func TestAbortEndsPairsThatWaitMoveOrAreParked(t *testing.T) {
	poller := startPoller(t)
	cause := errors.New("enough")
	states := map[string]func(client, server *net.TCPConn){
		"at once": func(client, server *net.TCPConn) {},
		"parked":  func(client, server *net.TCPConn) { time.Sleep(50 * time.Millisecond) },
		"blocked in a write": func(client, server *net.TCPConn) {
			go func() {
				for b := make([]byte, 1<<20); ; {
					if _, err := server.Write(b); err != nil {
						return
					}
				}
			}()
			time.Sleep(50 * time.Millisecond)
		},
		"half closed": func(client, server *net.TCPConn) {
			client.CloseWrite()
			io.ReadAll(server)
		},
	}
	for state, reach := range states {
		t.Run(state, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			ended := make(chan error, 2)
			p := Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: time.Millisecond},
				func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
			reach(client, server)
			p.Abort(cause)
			p.Abort(errors.New("too late"))
			select {
			case err := <-ended:
				if !errors.Is(err, cause) || err.Error() != cause.Error() {
					t.Errorf("the pair ended with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("the pair continues")
			}
			left.Close()
			right.Close()
			if len(poller.directions()) != 0 {
				t.Error("the poller still has its directions")
			}
		})
	}
}

// The end of the context ends both directions.
func TestContextEndsBothDirections(t *testing.T) {
	_, left := pair(t)
	right, _ := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	up, down := Run(ctx, Flow{Dst: right, Src: left}, Flow{Dst: left, Src: plain{right}}, 0)
	if err := errors.Join(up.Err, down.Err); !errors.Is(err, context.Canceled) || up.Err != nil && down.Err != nil {
		t.Errorf("%v, %v", up.Err, down.Err)
	}
}

// A peer that never answers a half-close is cut off after the linger.
func TestSilenceAfterHalfCloseIsCutOff(t *testing.T) {
	client, left := pair(t)
	right, _ := pair(t)
	client.CloseWrite()
	up, down := Run(context.Background(), Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, time.Millisecond)
	if up.Err != nil || !errors.Is(down.Err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, %v", up.Err, down.Err)
	}
}

// A reset in one direction ends the other.
func TestResetEndsBothDirections(t *testing.T) {
	client, left := pair(t)
	right, _ := pair(t)
	client.SetLinger(0)
	client.Close()
	up, down := Run(context.Background(), Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, time.Hour)
	if err := errors.Join(up.Err, down.Err); !errors.Is(err, syscall.ECONNRESET) || up.Err != nil && down.Err != nil {
		t.Errorf("%v, %v", up.Err, down.Err)
	}
}

// A direction that keeps moving bytes is not cut off after the linger.
func TestActiveDirectionOutlivesTheLinger(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const linger = 2 * time.Second
			if err := loopback.Undisturbed(linger/4, func() error {
				client, left := pair(t)
				right, server := pair(t)
				client.CloseWrite()
				go func() {
					for range 30 { // longer than the linger, at a pace well inside it
						server.Write([]byte{1})
						time.Sleep(linger / 20)
					}
					server.Close()
				}()
				l, r := wrap(left), wrap(right)
				up, down := Run(context.Background(), Flow{Dst: r, Src: l}, Flow{Dst: l, Src: r}, linger)
				if up.Err != nil || down.Err != nil || down.Bytes != 30 {
					return fmt.Errorf("%+v, %+v", up, down)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A peer that has half-closed and reads nothing more is cut off after the linger.
func TestBlockedWriteIsCutOffAfterAHalfClose(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			client.CloseWrite()
			go func() { // far more than the sockets hold
				for b := make([]byte, 1<<20); ; {
					if _, err := server.Write(b); err != nil {
						return
					}
				}
			}()
			l, r := wrap(left), wrap(right)
			up, down := Run(context.Background(), Flow{Dst: r, Src: l}, Flow{Dst: l, Src: r}, 100*time.Millisecond)
			if up.Err != nil || !errors.Is(down.Err, os.ErrDeadlineExceeded) {
				t.Errorf("%+v, %+v", up, down)
			}
		})
	}
}

// A peer that does not read for longer than the linger is cut off, perhaps inside a
// frame. The bytes that it reads are the first ones of the stream, without a gap.
func TestCutOffStreamHasNoGap(t *testing.T) {
	for treatment, treat := range treatments {
		t.Run(treatment, func(t *testing.T) {
			t.Parallel()
			client, left := pair(t)
			right, server := pair(t)
			down := Flow{Dst: left, Src: right}
			treat(&down)
			transformed, framed := down.Transform != nil, down.Framing != nil
			ended := make(chan Result, 1)
			Start(Flow{Dst: right, Src: left}, down, &Config{Poller: startPoller(t), Linger: 200 * time.Millisecond},
				func(up, down Result) {
					left.Close()
					right.Close()
					ended <- down
				})
			client.CloseWrite()
			sent := make([]byte, 32<<20)
			rand.Read(sent)
			go func() {
				server.Write(sent)
				server.Close()
			}()
			r := <-ended
			if !netx.IsTimeout(r.Err) {
				t.Errorf("the pair ended with %v", r.Err)
			}
			var got []byte
			var err error
			if framed {
				got, _ = unframe(client) // which may end inside a frame
			} else if got, err = io.ReadAll(client); err != nil {
				t.Error(err)
			}
			if transformed {
				invert(got)
			}
			if !bytes.HasPrefix(sent, got) || int64(len(got)) > r.Bytes {
				t.Errorf("%d bytes came that are not the first of those sent; %d were counted", len(got), r.Bytes)
			}
		})
	}
}

// timingOut is a connection of which every Read times out, like one that sets its
// own deadlines.
type timingOut struct{ plain }

func (timingOut) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// A timeout of a source that is not a bare socket ends the pair: such a source has
// no deadline of arm's, and cannot be parked.
func TestForeignTimeoutEndsThePair(t *testing.T) {
	_, left := pair(t)
	right, _ := pair(t)
	ended := make(chan error, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: timingOut{plain{right}}}, &Config{Poller: startPoller(t)},
		func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
	select {
	case err := <-ended:
		if !netx.IsTimeout(err) {
			t.Errorf("the pair ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the pair continues")
	}
}

// A stream without bytes ends like any other.
func TestEmptyStreamEndsWithoutAnError(t *testing.T) {
	for name, treat := range treatments {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			up := Flow{Dst: right, Src: left}
			treat(&up)
			ended := make(chan [2]Result, 1)
			Start(up, Flow{Dst: left, Src: right}, &Config{Poller: startPoller(t)},
				func(up, down Result) { ended <- [2]Result{up, down} })
			client.CloseWrite()
			server.CloseWrite()
			if r := <-ended; r != [2]Result{} {
				t.Errorf("%+v", r)
			}
		})
	}
}
