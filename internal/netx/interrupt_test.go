package netx

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// read reads one byte from conn.
func read(conn net.Conn) error {
	_, err := conn.Read(make([]byte, 1))
	return err
}

// checkReadable fails t unless a byte written to peer arrives at conn: a deadline
// that is still set would end the read.
func checkReadable(t *testing.T, conn, peer net.Conn) {
	t.Helper()
	go peer.Write([]byte("x"))
	if err := read(conn); err != nil {
		t.Errorf("read afterwards: %v", err)
	}
}

func TestEndOfAContextUnblocksTheOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := net.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := Interruptible(ctx, conn.SetReadDeadline, func() error { return read(conn) })
		if err != context.DeadlineExceeded || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		checkReadable(t, conn, peer)
	})
}

// An operation that fails by itself keeps its error, and so does one that has no
// context which could end.
func TestInterruptibleReturnsTheOperationsOwnError(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{context.Background(), t.Context(), ended} {
		conn, _ := net.Pipe()
		for _, want := range []error{nil, io.EOF} {
			err := Interruptible(ctx, conn.SetDeadline, func() error { return want })
			if err != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
	}
}

func TestDeadlinesSetAfterTheEndChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		i := Interrupt(ctx, conn.SetDeadline)
		cancel()
		synctest.Wait()
		for _, deadline := range []time.Time{time.Now().Add(time.Hour), {}} {
			i.SetDeadline(deadline)
			start := time.Now()
			if err := read(conn); !IsTimeout(err) || time.Since(start) != 0 {
				t.Errorf("read with deadline %v: %v after %v", deadline, err, time.Since(start))
			}
		}
		if err := i.Finish(); err != context.Canceled {
			t.Errorf("Finish: %v", err)
		}
		checkReadable(t, conn, peer)
	})
}

func TestFinishClearsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, ctx := range []context.Context{context.Background(), cancelled} {
			conn, peer := net.Pipe()
			i := Interrupt(ctx, conn.SetDeadline)
			i.SetDeadline(time.Now().Add(time.Second))
			start := time.Now()
			if err := read(conn); !IsTimeout(err) || time.Since(start) != time.Second {
				t.Errorf("read: %v after %v", err, time.Since(start))
			}
			if err := i.Finish(); err != nil {
				t.Errorf("Finish: %v", err)
			}
			if ctx == cancelled {
				cancel() // too late to interrupt anything
				synctest.Wait()
			}
			checkReadable(t, conn, peer)
		}
	})
}

// ETIMEDOUT is the end of the connection; a deadline is not.
func TestCauseIsTheContextForADeadlineOnly(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	deadline := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	timedOut := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}
	for _, c := range []struct {
		ctx       context.Context
		err, want error
	}{
		{ended, deadline, context.Canceled},
		{ended, timedOut, timedOut},
		{ended, io.EOF, io.EOF},
		{ended, nil, nil},
		{t.Context(), deadline, deadline},
	} {
		if got := Cause(c.ctx, c.err); !errors.Is(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%v after %v is %v, want %v", c.err, c.ctx.Err(), got, c.want)
		}
	}
}
