// Package logwriter writes a log without waiting for its reader. A log that is a
// pipe blocks its writer when the reader stops; a disk may be full, or slow.
//
//	logwriter.go  the queue
//	file.go       a log file that can be reopened; fifo_unix.go if it is a FIFO
package logwriter

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// maxQueued is how many bytes of lines wait for the destination: some thousands
	// of lines, which a burst may bring within a second.
	maxQueued = 1 << 20
	// maxIdle is the largest empty queue that is kept for the next lines.
	maxIdle = 16 << 10
	// gather is the least time between two writes to the destination, if it is as
	// fast: one for each line costs a busy server more than the lines do.
	gather = 50 * time.Millisecond
)

// Writer is a log's io.Writer. Write appends to a queue of at most one MiB and never
// blocks. A goroutine writes the queue to the destination, and ends when the queue is
// empty: at once after a silence, and otherwise the lines of 50 ms together. Lines for
// which there is no room, or which the destination refuses, are counted, and a line
// with their number follows as soon as the destination takes it. A line of which it has
// taken a part ends there, and is counted as well.
//
// Its methods may be called concurrently.
type Writer struct {
	// notice formats the line about dropped lines. It is called under mu.
	notice func(dropped int) []byte

	mu       sync.Mutex
	dst      io.Writer
	replaced int           // how often dst was
	torn     bool          // dst ends in a part of a line
	lost     int           // lines before the queue, which dst has refused
	queue    []byte        // lines
	lines    int           // their number
	dropped  int           // lines after the queue, for which it had no room
	writing  bool          // there is a goroutine, or the timer that starts one
	delayed  *time.Timer   // that timer, nil before the first
	wrote    time.Time     // when the last goroutine ended
	settled  chan struct{} // closed when the goroutine ends
	closed   bool
}

// New returns a Writer to dst. notice formats the line, with its newline, that tells
// how many lines were dropped; it must not write to the Writer.
func New(dst io.Writer, notice func(dropped int) []byte) *Writer {
	return &Writer{dst: dst, notice: notice}
}

// Write queues line, which is one line or several whole ones, and does not keep it.
// It reports success also if the line is dropped, because a logger has no use for
// the error.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Once a line is dropped, so are those after it until the queue is taken:
	// the notice is then where the lines are missing.
	lines := bytes.Count(line, newline)
	if w.closed || w.dropped > 0 || len(w.queue)+len(line) > maxQueued {
		w.dropped += lines
		return len(line), nil
	}
	w.queue = append(w.queue, line...)
	w.lines += lines
	if !w.writing {
		w.writing, w.settled = true, make(chan struct{})
		w.start(gather - time.Since(w.wrote))
	}
	return len(line), nil
}

// start starts the goroutine after delay. The caller holds mu.
func (w *Writer) start(delay time.Duration) {
	switch {
	case delay <= 0:
		go w.write()
	case w.delayed == nil:
		w.delayed = time.AfterFunc(delay, w.write)
	default:
		w.delayed.Reset(delay)
	}
}

// write writes the queue until it is empty.
func (w *Writer) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 || w.dropped > 0 {
		lost, lines, dropped := w.lost, w.lines, w.dropped
		var batch []byte
		if w.torn {
			batch = append(batch, '\n')
		}
		if lost > 0 {
			batch = append(batch, w.notice(lost)...)
		}
		start := len(batch) // of the lines
		if batch = append(batch, w.queue...); dropped > 0 {
			batch = append(batch, w.notice(dropped)...)
		}
		w.lost, w.lines, w.dropped, w.queue = 0, 0, 0, w.queue[:0]
		if cap(w.queue) > maxIdle {
			w.queue = nil
		}
		n, err := w.writeBatch(batch)
		if err == nil || n == len(batch) {
			continue
		}
		if w.lost = lost + lines + dropped; n >= start {
			w.lost -= lost + min(lines, bytes.Count(batch[start:n], newline))
		}
	}
	w.writing, w.wrote = false, time.Now()
	close(w.settled)
}

// writeBatch writes batch to the destination, and returns how much of it has been
// written. If the destination was replaced and closed meanwhile, the rest goes to its
// successor. The caller holds mu, which is free during a write.
func (w *Writer) writeBatch(batch []byte) (n int, err error) {
	for {
		dst, replaced := w.dst, w.replaced
		w.mu.Unlock()
		var more int
		more, err = dst.Write(batch[n:])
		w.mu.Lock()
		n += more
		if more > 0 && w.replaced == replaced { // otherwise Reopen has set it
			w.torn = batch[n-1] != '\n'
		}
		if w.replaced == replaced || !errors.Is(err, os.ErrClosed) {
			return n, err
		}
	}
}

var newline = []byte{'\n'}

// Flush waits until the queue is written, for at most limit. It reports whether
// everything was written.
func (w *Writer) Flush(limit time.Duration) (complete bool) {
	w.mu.Lock()
	writing, settled := w.writing, w.settled
	if w.delayed != nil && w.delayed.Stop() {
		go w.write()
	}
	w.mu.Unlock()
	if writing {
		select {
		case <-settled:
		case <-time.After(limit):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.writing && w.lost+w.dropped == 0
}

// Close stops taking lines and waits like Flush. It does not close the destination.
func (w *Writer) Close(limit time.Duration) (complete bool) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return w.Flush(limit)
}
