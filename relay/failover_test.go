package relay_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
)

// backup is a relay with two servers, of which the first one changes, and the number of
// clients that each has had an answer for.
type backup struct {
	crowd
	dead     atomic.Bool                   // the first one
	slowness atomic.Pointer[time.Duration] // of its answers
	answers  [2]atomic.Int32
}

func newBackup(t *testing.T) *backup {
	b := &backup{}
	b.slowness.Store(new(time.Duration))
	b.relay = newRelay(t, 2, func(_ context.Context, _, address string) (net.Conn, error) {
		which := 0
		if address == "192.0.2.2:443" {
			which = 1
		}
		if which == 0 && b.dead.Load() {
			return nil, errors.New("refused")
		}
		ours, theirs := net.Pipe()
		b.running.Go(func() {
			conn := mtwire.Server(theirs, nil)
			defer conn.Close()
			if packet, err := conn.Receive(context.Background()); err == nil {
				if which == 0 {
					time.Sleep(*b.slowness.Load())
				}
				if conn.Send(context.Background(), packet.Payload) == nil {
					b.answers[which].Add(1)
				}
				conn.Receive(context.Background())
			}
		})
		return ours, nil
	})
	return b
}

// ask has a client answered, and returns how many seconds that took.
func (b *backup) ask(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	b.add(t, "198.51.100.1", false).Close()
	return time.Since(begun).Truncate(time.Second)
}

func (b *backup) expect(t *testing.T, first, second int32) {
	t.Helper()
	synctest.Wait()
	if got := [2]int32{b.answers[0].Load(), b.answers[1].Load()}; got != [2]int32{first, second} {
		t.Errorf("answers of the servers: %v, want %d and %d", got, first, second)
	}
}

// A server that dies is replaced at once, and has its clients back some seconds after it
// has come back.
func TestAServerThatComesBackHasItsClientsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackup(t)
		b.ask(t)
		b.expect(t, 1, 0)
		b.dead.Store(true)
		if b.ask(t) > 0 {
			t.Error("a server that refuses takes time")
		}
		b.expect(t, 1, 1)
		b.dead.Store(false)
		b.ask(t)
		b.expect(t, 1, 2)
		time.Sleep(6 * time.Second)
		b.ask(t)
		b.ask(t)
		b.expect(t, 3, 2)
		b.running.Wait()
	})
}

// A server that answers within AnswerTimeout is used, however slow, and a slower one costs
// the first of its clients that time.
func TestASlowServerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackup(t)
		slow, slower := 9*time.Second, 20*time.Second
		b.slowness.Store(&slow)
		if took := b.ask(t); took != slow {
			t.Errorf("an answer took %v", took)
		}
		b.expect(t, 1, 0)
		b.slowness.Store(&slower)
		if took := b.ask(t); took != 10*time.Second {
			t.Errorf("an answer of the next one took %v", took)
		}
		if took := b.ask(t); took != 0 {
			t.Errorf("another client's took %v", took)
		}
		b.expect(t, 1, 2)
		time.Sleep(6 * time.Second)
		var first time.Duration
		done := make(chan bool)
		go func() { first = b.ask(t); close(done) }()
		synctest.Wait()
		if took := b.ask(t); took != 0 {
			t.Errorf("beside the one that tries the server, a client waits %v", took)
		}
		if <-done; first != 10*time.Second {
			t.Errorf("the one that tries it waits %v", first)
		}
		b.expect(t, 1, 4)
		b.running.Wait()
	})
}

// Want of descriptors is no server's failure: a client that has been idle makes room, and
// the dial is tried again.
func TestWantOfDescriptorsIsNoServersFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &crowd{}
		var dialled []string
		var full atomic.Bool
		b.relay = newRelay(t, 2, func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			if full.CompareAndSwap(true, false) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
			ours, theirs := net.Pipe()
			b.running.Go(func() {
				conn := mtwire.Server(theirs, nil)
				defer conn.Close()
				serve(context.Background(), conn)
			})
			return ours, nil
		})
		idle := b.add(t, "198.51.100.1", true)
		time.Sleep(3 * time.Second)
		full.Store(true)
		client := b.add(t, "198.51.101.1", true)
		answers(t, client) // it may have made room itself, since all did
		if stats := b.relay.Stats(); stats.Evicted == 0 {
			t.Errorf("%+v", stats)
		}
		next := b.add(t, "198.51.102.1", false)
		for _, address := range dialled {
			if address != "192.0.2.1:443" {
				t.Errorf("dialled %v", dialled)
				break
			}
		}
		idle.Close()
		client.Close()
		next.Close()
		b.running.Wait()
	})
}
