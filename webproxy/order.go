package webproxy

import (
	"crypto/sha256"
)

// UpReceiver is a relay's order of the upload requests of one lane. Requests have
// the sequence 1, 2, and so on. The last one may be repeated, with the same bytes,
// because its answer may have been lost. The zero value is ready. It must not be
// used concurrently.
type UpReceiver struct {
	last   uint64
	digest [sha256.Size]byte // of the last request's body
	next   [sha256.Size]byte // of the body that Check has accepted
}

// Check reports whether a request with a sequence and a body is new. If it is, the
// caller applies it and calls Accept, or refuses it for now and does not. A
// request that is not new repeats the last one and is only acknowledged. Every
// other sequence, and a repetition with other bytes, is an error that wraps
// ErrProtocol and ends the session.
func (u *UpReceiver) Check(sequence uint64, body []byte) (fresh bool, err error) {
	if sequence != u.last+1 && (sequence != u.last || u.last == 0) {
		return false, violation("upload %d after %d", sequence, u.last)
	}
	digest := sha256.Sum256(body)
	if sequence == u.last {
		if digest != u.digest {
			return false, violation("upload %d repeated with other bytes", sequence)
		}
		return false, nil
	}
	u.next = digest
	return true, nil
}

// Accept makes the request that Check has found new the last one.
func (u *UpReceiver) Accept() {
	u.last++
	u.digest = u.next
}

// UpSender is an app's order of the upload requests of one lane. At most one is in
// flight. The zero value is ready. It must not be used concurrently.
type UpSender struct{ sequence uint64 }

// Next returns the sequence of the next request. A request that is repeated, with
// the same bytes, has the same.
func (u *UpSender) Next() uint64 { return u.sequence + 1 }

// Acknowledge applies the sequence that an answer acknowledges. One that is not that of the
// request in flight is an error that wraps ErrProtocol, and changes nothing.
func (u *UpSender) Acknowledge(sequence uint64) error {
	if sequence != u.sequence+1 {
		return violation("acknowledgement of upload %d, want %d", sequence, u.sequence+1)
	}
	u.sequence = sequence
	return nil
}

// DownSender is a relay's order of the batches of one lane. A batch is kept until
// the app has acknowledged it, by asking for the one behind it, and repeated if it
// asks for the same again. The zero value is ready. It must not be used
// concurrently.
type DownSender struct {
	cursor uint64   // the last batch that is acknowledged
	batch  [][]byte // the one behind it, in parts, or nil
}

// Poll applies the cursor that an app asks with: the last batch that it has. It
// returns the batch to be repeated, or nil if the next is yet to be sent, and the
// number of bytes that the cursor acknowledges. Every other cursor is an error that
// wraps ErrProtocol and ends the session.
func (d *DownSender) Poll(cursor uint64) (repeat [][]byte, acknowledged int, err error) {
	switch {
	case cursor == d.cursor:
		return d.batch, 0, nil
	case cursor == d.cursor+1 && d.batch != nil:
		acknowledged = length(d.batch)
		d.cursor, d.batch = cursor, nil
		return nil, acknowledged, nil
	}
	return nil, 0, violation("cursor %d after batch %d", cursor, d.cursor)
}

// Send makes batch the next one, and returns the cursor that its answer has. There
// must be no batch that is not acknowledged. The parts of batch must not be changed
// afterwards.
func (d *DownSender) Send(batch [][]byte) (cursor uint64) {
	if d.batch != nil || len(batch) == 0 {
		panic("webproxy: internal error: a batch that is not acknowledged would be lost")
	}
	d.batch = batch
	return d.cursor + 1
}

// Cursor returns the last batch that is acknowledged.
func (d *DownSender) Cursor() uint64 { return d.cursor }

// Pending reports whether there is a batch that is not acknowledged.
func (d *DownSender) Pending() bool { return d.batch != nil }

// DownReceiver is an app's order of the batches of one lane. The zero value is
// ready. It must not be used concurrently.
type DownReceiver struct{ cursor uint64 }

// Cursor returns the last batch that was received, which the next request asks
// with.
func (d *DownReceiver) Cursor() uint64 { return d.cursor }

// Receive applies the cursor of an answer: the next one with a batch, or the last one with
// none. Any other is an error that wraps ErrProtocol, and changes nothing.
func (d *DownReceiver) Receive(cursor uint64, batch bool) error {
	want := d.cursor
	if batch {
		want++
	}
	if cursor != want {
		return violation("answer with cursor %d, want %d", cursor, want)
	}
	d.cursor = cursor
	return nil
}

// length returns the number of bytes of a batch in parts.
func length(batch [][]byte) (n int) {
	for _, part := range batch {
		n += len(part)
	}
	return n
}

// Limits of batchSize, in bytes.
const (
	smallestBatch = 128 << 10
	firstBatch    = 512 << 10
)

// batchSize is the limit of the length of a lane's batches. On a network that cuts
// requests off, short ones arrive and long ones do not. The zero value is that of
// the first.
type batchSize struct{ n int }

func (s *batchSize) limit() int {
	if s.n == 0 {
		return firstBatch
	}
	return s.n
}

// arrived doubles the limit.
func (s *batchSize) arrived() { s.n = min(2*s.limit(), MaxBatchLength) }

// repeated takes a quarter of it.
func (s *batchSize) repeated() { s.n = max(s.limit()/4, smallestBatch) }
