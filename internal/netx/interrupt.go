package netx

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// longAgo is a deadline in the past, which unblocks a call at once.
var longAgo = time.Unix(1, 0)

// IsTimeout reports whether err means that a deadline has passed: it is
// os.ErrDeadlineExceeded, or a net.Error of a connection that is not package net's and
// has errors of its own. ETIMEDOUT, the error for a peer that does not answer any more,
// is no such error, and a context's is none either: they end the connection.
func IsTimeout(err error) bool {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err != nil
	}
	var timeout net.Error
	var system Errno
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.As(err, &system) &&
		!errors.Is(err, context.DeadlineExceeded)
}

// Cause returns ctx's error if ctx has ended and err is a timeout, which is then a
// consequence. Otherwise it returns err.
func Cause(ctx context.Context, err error) error {
	if IsTimeout(err) {
		if ended := ctx.Err(); ended != nil {
			return ended
		}
	}
	return err
}

// Interruption ties one operation on a connection to a context: when the context
// ends, blocked reads and writes of the connection fail with a timeout.
type Interruption struct {
	ctx  context.Context
	set  func(time.Time) error
	stop func() bool // nil if ctx never ends
	done chan struct{}

	mu  sync.Mutex
	cut bool // ctx has ended
}

// Interrupt begins an Interruption. set is the connection's SetDeadline,
// SetReadDeadline or SetWriteDeadline. The caller calls Finish when the operation is
// over.
func Interrupt(ctx context.Context, set func(time.Time) error) *Interruption {
	i := &Interruption{ctx: ctx, set: set}
	if ctx.Done() == nil {
		return i
	}
	i.done = make(chan struct{})
	i.stop = context.AfterFunc(ctx, func() {
		i.mu.Lock()
		i.cut = true
		i.set(longAgo)
		i.mu.Unlock()
		close(i.done)
	})
	return i
}

// SetDeadline sets a deadline in addition to the context's, or removes it if t is
// zero. It does nothing if the context has ended.
func (i *Interruption) SetDeadline(t time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.cut {
		i.set(t)
	}
}

// Finish clears the connection's deadline. It returns the context's error if
// the context ended before.
func (i *Interruption) Finish() error {
	var ended error
	if i.stop != nil && !i.stop() {
		<-i.done
		ended = i.ctx.Err()
	}
	i.set(time.Time{})
	return ended
}

// Interruptible runs f, which reads or writes a connection, and makes it fail
// when ctx ends; set is as for Interrupt. The error is ctx's if ctx made f fail,
// and otherwise f's. The deadline is cleared afterwards.
func Interruptible(ctx context.Context, set func(time.Time) error, f func() error) error {
	i := Interrupt(ctx, set)
	err := f()
	if ended := i.Finish(); ended != nil && IsTimeout(err) {
		return ended
	}
	return err
}
