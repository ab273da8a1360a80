package relay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
)

// newQueue returns a queue whose connections are told apart by their address alone.
func newQueue(tasks *sync.WaitGroup, send func(to *mtwire.Conn, p mtwire.Packet) error) *queue {
	q := &queue{tasks: tasks, to: new(mtwire.Conn), charge: func(int) bool { return true },
		send:   func(_ context.Context, to *mtwire.Conn, p mtwire.Packet) error { return send(to, p) },
		failed: func(*mtwire.Conn, error) {}}
	q.changed.L = &q.mu
	return q
}

// Every packet is sent, in order, however its arrival and the end of the goroutine that
// sends meet.
func TestQueueSendsAllPackets(t *testing.T) {
	var tasks sync.WaitGroup
	next := byte(0)
	q := newQueue(&tasks, func(_ *mtwire.Conn, p mtwire.Packet) error {
		if p.Payload[0] != next {
			t.Errorf("packet %d in place of %d", p.Payload[0], next)
		}
		next++
		return nil
	})
	packet := byte(0)
	add := func() {
		if err := q.add(t.Context(), mtwire.Packet{Payload: []byte{packet, 0, 0, 0}}); err != nil {
			t.Fatal(err)
		}
		packet++
	}
	for i := range 30_000 {
		add()
		for spin := range i % 300 { // until the goroutine is about to end
			_ = spin
		}
		add()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		q.drain(ctx)
		cancel()
		if left := q.unsent(); left != 0 {
			t.Fatalf("%d bytes are not sent after round %d", left, i)
		}
	}
	tasks.Wait()
}

// What was sent to a connection that fails is sent to the next one, until it is released or
// too much.
func TestQueueKeepsPackets(t *testing.T) {
	var tasks sync.WaitGroup
	var got []byte
	first := new(mtwire.Conn)
	q := newQueue(&tasks, func(to *mtwire.Conn, p mtwire.Packet) error {
		got = append(got, p.Payload[0])
		if to == first && p.Payload[0] == 3 {
			return errors.New("test")
		}
		return nil
	})
	q.to, q.keep = first, true
	for i := byte(1); i <= 4; i++ {
		q.add(t.Context(), mtwire.Packet{Payload: []byte{i, 0, 0, 0}})
	}
	tasks.Wait()
	if q.failure() == nil || !q.redirect(t.Context(), new(mtwire.Conn)) {
		t.Fatal("the packets are not sent again")
	}
	tasks.Wait()
	if string(got) != "\x01\x02\x03\x01\x02\x03\x04" {
		t.Errorf("sent %v", got)
	}
	q.release()
	q.add(t.Context(), mtwire.Packet{Payload: []byte{5, 0, 0, 0}})
	tasks.Wait()
	if q.redirect(t.Context(), new(mtwire.Conn)) || q.size != 0 {
		t.Error("packets are kept after their release")
	}
}

// A client that takes nothing more does not keep what is for it, nor the rest from being received.
func TestQueueDropsPacketsBehindAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tasks sync.WaitGroup
		fail := make(chan bool)
		q := newQueue(&tasks, func(*mtwire.Conn, mtwire.Packet) error {
			<-fail
			return errors.New("test")
		})
		q.drops = true
		time.AfterFunc(time.Second, func() { close(fail) }) // while a packet waits for those before
		for range 100 {
			if err := q.add(t.Context(), mtwire.Packet{Payload: make([]byte, 8<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		tasks.Wait()
		if q.size > 2*maxAhead {
			t.Errorf("%d bytes are held", q.size)
		}
	})
}
