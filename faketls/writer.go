package faketls

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// recordWriter is the sending direction.
type recordWriter struct {
	mu      sync.Mutex
	limit   int    // longest body
	least   int    // shortest body, as far as there is more to send; 0 for none
	preface string // sent ahead of the first record
	err     error  // the first final error

	// Bytes that are too few for a record, and the timer that sends them.
	held   [leastFromServer]byte
	nHeld  int
	timer  *time.Timer
	closed bool
}

const (
	// leastFromServer is the shortest body that a server of TLS 1.3 sends: a type
	// and the tag of the cipher.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
	leastFromServer = 1 + 16

	// holdTime is how long fewer bytes wait for others: a quick acknowledgement is
	// followed by the answer within moments.
	holdTime = 100 * time.Millisecond

	// flushTime bounds how long Close waits to send them.
	flushTime = 100 * time.Millisecond

	// writeBatch is the largest number of the stream's bytes in one Write below. It
	// limits the scratch buffer that a blocked Write holds.
	writeBatch = 1 << 16
)

var scratchPool = sync.Pool{New: func() any { return new([]byte) }}

func (w *recordWriter) write(dst io.Writer, p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if w.nHeld+len(p) < w.least {
		w.hold(dst, p)
		return len(p), nil
	}
	for n < len(p) {
		batch := p[n:min(len(p), n+writeBatch)]
		if rest := len(p) - n - len(batch); rest > 0 && rest < w.least {
			batch = batch[:len(batch)-w.least]
		}
		k, err := w.send(dst, batch)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// send sends what is held back, and then p, with one Write. It returns how many bytes
// of p were sent. Under mu.
func (w *recordWriter) send(dst io.Writer, p []byte) (n int, err error) {
	scratch := scratchPool.Get().(*[]byte)
	defer scratchPool.Put(scratch)
	total := w.nHeld + len(p)
	headers := (total/w.limit + 2) * RecordHeaderLength
	b := slices.Grow((*scratch)[:0], len(w.preface)+headers+total)
	b = append(b, w.preface...)
	for held, rest := w.held[:w.nHeld], p; len(held)+len(rest) > 0; {
		length := w.next(len(held) + len(rest))
		b = append(AppendRecordHeader(b, length), held...)
		length -= len(held)
		b, held, rest = append(b, rest[:length]...), nil, rest[length:]
	}
	*scratch = b
	k, err := dst.Write(b)
	if err == nil && k < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.fail(k, err)
		return max(0, w.bodyBytes(k, total)-w.nHeld), err
	}
	w.preface, w.nHeld = "", 0
	return len(p), nil
}

// next returns the length of the next record's body, if there are n bytes.
func (w *recordWriter) next(n int) int {
	length := min(n, w.limit)
	if rest := n - length; rest > 0 && rest < w.least {
		length -= w.least
	}
	return length
}

// hold holds p back. Under mu.
func (w *recordWriter) hold(dst io.Writer, p []byte) {
	first := w.nHeld == 0
	w.nHeld += copy(w.held[w.nHeld:], p)
	if !first || w.nHeld == 0 || w.closed {
		return
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(holdTime, func() { w.flush(dst) })
		return
	}
	w.timer.Reset(holdTime)
}

// flush sends what is held back. If the write deadline has passed, the bytes stay
// until the next Write.
func (w *recordWriter) flush(dst io.Writer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nHeld == 0 || w.err != nil {
		return w.err
	}
	_, err := w.send(dst, nil)
	return err
}

// close sends what is held back, and starts no timer afterwards. It does not wait for
// a Write that is blocked.
func (w *recordWriter) close(conn net.Conn) {
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.nHeld > 0 && w.err == nil {
		conn.SetWriteDeadline(time.Now().Add(flushTime))
		w.send(conn, nil)
	}
}

// fail stores err if it is final: any error but a timeout before the first byte of the
// batch. k is the number of bytes that were sent.
func (w *recordWriter) fail(k int, err error) {
	switch {
	case !netx.IsTimeout(err):
		w.err = err
	case k > 0:
		// %v, because later Writes do not time out: there is nothing to wait for.
		w.err = fmt.Errorf("faketls: an earlier Write stopped inside a record: %v", err)
	}
}

// bodyBytes returns the number of the stream's bytes in the first k bytes of a batch,
// which has total of them.
func (w *recordWriter) bodyBytes(k, total int) (n int) {
	for k -= len(w.preface) + RecordHeaderLength; k > 0 && total > 0; {
		length := w.next(total)
		n += min(k, length)
		k -= length + RecordHeaderLength
		total -= length
	}
	return n
}
