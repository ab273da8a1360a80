package relay

import (
	"context"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/bufpool"
)

// maxAhead is how many bytes of memory the packets take that are received for a side that
// does not take them yet, beside one of any length. Of a client's packets as many are kept
// for another server.
const maxAhead = 64 << 10

// stuckTime is how long a side may take nothing while more is waiting for it, beside the
// time for the bytes at the rate slowest. The end of the other side, which is behind what
// is waiting, may not have been noticed.
const stuckTime = 2 * time.Minute

// queue sends packets to one side of a session, in order, while the caller of add goes on
// to receive: the end of the other side is noticed although this one takes nothing. It has
// a goroutine only while it sends, and at most maxAhead bytes and one packet.
type queue struct {
	tasks  *sync.WaitGroup // of the session
	send   func(ctx context.Context, to *mtwire.Conn, packet mtwire.Packet) error
	failed func(to *mtwire.Conn, err error)                 // called once for each connection that fails
	end    func(ctx context.Context, to *mtwire.Conn) error // called once for each connection after the last packet
	charge func(size int) bool                              // the memory of the session, which may have to make room

	mu      sync.Mutex
	changed sync.Cond // a packet was sent, or the goroutine has ended
	to      *mtwire.Conn
	items   []item // those that are kept, and then those that are not sent
	sent    int    // of the items
	size    int    // of the items
	keep    bool   // packets that were sent are kept for another connection
	lost    bool   // one that was sent is not kept
	drops   bool   // packets behind a failure are dropped: there is no other connection
	ending  bool   // no more packets are added
	ended   bool   // end was called for the connection
	running bool   // the goroutine
	err     error  // of the connection
}

// item is a copy of a packet.
type item struct {
	packet mtwire.Packet
	buffer *bufpool.Buffer // nil: none, or one that may be in use elsewhere
	size   int             // of its memory, in bytes
}

// itemSize is the memory that a packet takes beside its buffer, about.
const itemSize = 256

// sizeOf returns the memory that a copy of a packet takes, in bytes.
func sizeOf(p mtwire.Packet) int {
	if length := len(p.Payload) + len(p.Padding); p.Kind == mtwire.KindPayload && length > 0 {
		return itemSize + bufpool.Size(length)
	}
	return itemSize
}

func copyOf(p mtwire.Packet) item {
	length := len(p.Payload) + len(p.Padding)
	if p.Kind != mtwire.KindPayload || length == 0 {
		p.Payload, p.Padding = nil, nil
		return item{packet: p, size: itemSize}
	}
	it := item{packet: p, buffer: bufpool.Get(length), size: sizeOf(p)}
	n := copy(it.buffer.B, p.Payload)
	copy(it.buffer.B[n:], p.Padding)
	it.packet.Payload = it.buffer.B[:n:length]
	if p.Padding != nil {
		it.packet.Padding = it.buffer.B[n:length:length]
	}
	return it
}

// add adds a copy of a packet. It waits while the connection does not take those before,
// and is charged for the packet meanwhile, which is in the buffer that it was received in.
// Its error is the context's, errMemory or errStuck, and ends the session.
func (q *queue) add(ctx context.Context, p mtwire.Packet) error {
	size := sizeOf(p)
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped := func() bool { return q.drops && q.err != nil }
	if dropped() {
		return nil
	}
	if q.keep && q.size+size > maxAhead {
		q.forget()
	}
	if !q.charge(size) {
		return errMemory
	}
	if hasRoom := func() bool { return q.sent == len(q.items) || q.size+size <= maxAhead || dropped() }; !hasRoom() {
		limit := stuckTime + seconds(q.size, slowest)
		limited, cancel := context.WithTimeoutCause(ctx, limit, errStuck)
		defer cancel()
		if err := q.await(limited, hasRoom); err != nil {
			return err
		}
		if dropped() { // while it waited
			q.charge(-size)
			return nil
		}
	}
	q.items = append(q.items, copyOf(p))
	q.size += size
	q.start(ctx)
	return nil
}

// redirect sends what is kept, and what follows, to another connection. The one before is
// closed. It reports whether nothing is lost that was sent to that one.
func (q *queue) redirect(ctx context.Context, to *mtwire.Conn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.await(ctx, func() bool { return !q.running }); err != nil || q.lost {
		return false
	}
	q.to, q.sent, q.ended, q.err = to, 0, false, nil
	q.start(ctx)
	return true
}

// finish has end called when everything is sent. No packet is added afterwards.
func (q *queue) finish(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ending = true
	q.start(ctx)
}

// drain waits until everything is sent.
func (q *queue) drain(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_ = q.await(ctx, func() bool { return q.err != nil || q.sent == len(q.items) })
}

// release ends keeping packets: there will be no other connection.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.keep {
		q.forget()
	}
}

// forget drops the packets that were sent, as later ones will be. Under mu.
func (q *queue) forget() {
	q.keep = false
	for q.sent > 0 {
		q.sent--
		q.dropFirst()
	}
}

// dropFirst drops a packet that was sent. Under mu.
func (q *queue) dropFirst() {
	first := q.items[0]
	q.items[0] = item{}
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
	q.size -= first.size
	q.charge(-first.size)
	q.lost = true
	bufpool.Put(first.buffer)
}

// unsent returns the size of what is not sent yet.
func (q *queue) unsent() (size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.items[q.sent:] {
		size += q.items[q.sent+i].size
	}
	return size
}

// failure returns the error of the connection.
func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// start starts the goroutine if there is something to send, or an end. Under mu.
func (q *queue) start(ctx context.Context) {
	if !q.running && q.to != nil && q.err == nil && (q.sent < len(q.items) || q.ending && !q.ended) {
		q.running = true
		q.tasks.Go(func() { q.run(ctx) })
	}
}

func (q *queue) run(ctx context.Context) {
	q.mu.Lock()
	to := q.to
	for q.err == nil && q.sent < len(q.items) {
		packet := q.items[q.sent].packet
		q.mu.Unlock()
		err := q.send(ctx, to, packet)
		q.mu.Lock()
		switch {
		case err != nil:
			q.err = err
			q.items[q.sent].buffer = nil // it may be read until that connection has ended
		case q.keep:
			q.sent++
		default:
			q.dropFirst()
		}
		q.changed.Broadcast()
	}
	if q.err == nil && q.ending && !q.ended {
		q.ended = true
		q.mu.Unlock()
		err := q.end(ctx, to)
		q.mu.Lock()
		q.err = err
	}
	if err := q.err; err != nil {
		q.mu.Unlock()
		q.failed(to, err)
		q.mu.Lock()
	}
	q.running = false // with the packets, of which a later add would start it for none
	q.changed.Broadcast()
	q.mu.Unlock()
}

// await waits until ready returns true, or ctx ends. Under mu.
func (q *queue) await(ctx context.Context, ready func() bool) error {
	if ready() {
		return nil
	}
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})()
	for !ready() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		q.changed.Wait()
	}
	return nil
}
