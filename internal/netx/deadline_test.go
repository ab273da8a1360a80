package netx

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// inPipe runs f in a bubble with one end of a net.Pipe, a Deadline for its reads
// and the other end.
func inPipe(t *testing.T, f func(t *testing.T, d *Deadline, conn, peer net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := net.Pipe()
		d := new(Deadline)
		d.Rebind(conn.SetReadDeadline)
		f(t, d, conn, peer)
		d.Close()
	})
}

// readWith reads one byte between Watch and Unwatch.
func readWith(ctx context.Context, d *Deadline, conn net.Conn) error {
	if err := d.Watch(ctx); err != nil {
		return err
	}
	defer d.Unwatch()
	return Cause(ctx, read(conn))
}

func TestEndOfAContextUnblocksTheCall(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := readWith(ctx, d, conn); err != context.DeadlineExceeded || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		checkReadable(t, conn, peer)
		if err := readWith(ctx, d, conn); err != context.DeadlineExceeded {
			t.Errorf("the next call with it: %v", err)
		}
	})
}

func TestContextThatEndsBetweenCallsDoesNothing(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		go peer.Write([]byte("x"))
		if err := readWith(ctx, d, conn); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		checkReadable(t, conn, peer)
	})
}

func TestCallFollowsItsOwnContextOnly(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		for _, ctx := range []context.Context{context.Background(), t.Context()} {
			earlier, cancel := context.WithCancel(t.Context())
			go peer.Write([]byte("x"))
			if err := readWith(earlier, d, conn); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() { failed <- readWith(ctx, d, conn) }()
			synctest.Wait()
			cancel()
			synctest.Wait()
			d.expire(earlier.Done()) // if it ended while Watch replaced it
			go peer.Write([]byte("x"))
			if err := <-failed; err != nil {
				t.Errorf("the context of an earlier call ended this one: %v", err)
			}
		}
	})
}

// A limit that is set or removed after the context's end does not keep the call
// going.
func TestContextIsStrongerThanALimit(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		if err := d.Watch(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		for _, limit := range []time.Time{time.Now().Add(time.Hour), {}} {
			d.SetLimit(limit)
			if err := read(conn); !IsTimeout(err) {
				t.Errorf("with limit %v: %v", limit, err)
			}
		}
		d.Unwatch()
		checkReadable(t, conn, peer)
	})
}

func TestLimitEndsTheCall(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		d.SetLimit(time.Now().Add(time.Second))
		start := time.Now()
		if err := readWith(t.Context(), d, conn); !IsTimeout(err) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		d.SetLimit(time.Time{})
		checkReadable(t, conn, peer)
	})
}

// The context ended while the call was on the layer below.
func TestRebindInterruptsTheNewConnectionToo(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, _, _ net.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		if err := d.Watch(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		conn, peer := net.Pipe()
		d.Rebind(conn.SetReadDeadline)
		if err := read(conn); !IsTimeout(err) {
			t.Errorf("read: %v", err)
		}
		d.Unwatch()
		checkReadable(t, conn, peer)
	})
}

func TestClosedDeadlineSetsNone(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		if err := d.Watch(ctx); err != nil {
			t.Fatal(err)
		}
		d.Close()
		cancel()
		d.SetLimit(longAgo)
		synctest.Wait()
		checkReadable(t, conn, peer)
		if err := d.Watch(t.Context()); err != nil {
			t.Errorf("Watch: %v", err)
		}
		d.Unwatch()
	})
}

func TestCloseClearsTheDeadline(t *testing.T) {
	inPipe(t, func(t *testing.T, d *Deadline, conn, peer net.Conn) {
		d.SetLimit(longAgo)
		d.Close()
		checkReadable(t, conn, peer)
	})
}

// observedContext counts the functions that wait for its end.
type observedContext struct {
	context.Context
	waiting int
}

func (c *observedContext) Value(any) any { return nil } // hides the context inside from package context

func (c *observedContext) AfterFunc(func()) (stop func() bool) {
	c.waiting++
	return func() bool { c.waiting--; return true }
}

func TestClosedDeadlineIsNotRegistered(t *testing.T) {
	ctx := &observedContext{Context: t.Context()}
	var d Deadline
	for range 3 {
		if err := d.Watch(ctx); err != nil {
			t.Fatal(err)
		}
		d.Unwatch()
	}
	if ctx.waiting != 1 {
		t.Errorf("%d registrations before Close, want 1", ctx.waiting)
	}
	if d.Close(); ctx.waiting != 0 {
		t.Errorf("%d registrations after Close", ctx.waiting)
	}
}

func TestFollowingTheSameContextDoesNotAllocate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var d Deadline
	d.Rebind(func(time.Time) error { return nil })
	defer d.Close()
	if n := testing.AllocsPerRun(100, func() {
		if err := d.Watch(ctx); err != nil {
			t.Fatal(err)
		}
		d.Unwatch()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
