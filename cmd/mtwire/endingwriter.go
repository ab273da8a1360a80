package main

import (
	"context"
	"io"
	"slices"
	"time"
)

// endingWriter writes to w until a moment after ctx has ended, so that a reader that does not read, or a
// terminal that is stopped, does not keep a server from ending: a Write that is
// blocked then returns ctx's error, and its goroutine stays until the process ends.
type endingWriter struct {
	ctx context.Context
	w   io.Writer
}

func (e *endingWriter) Write(b []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	b = slices.Clone(b) // the goroutine may outlive the call
	go func() {
		n, err := e.w.Write(b)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-e.ctx.Done():
	}
	select {
	case r := <-done:
		return r.n, r.err
	case <-time.After(logPatience):
		return 0, e.ctx.Err()
	}
}
