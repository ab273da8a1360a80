package webproxy

import "sync"

const (
	// chunkPayload is the maximum payload of the DATA frames that are sent, which is
	// that of the apps.
	chunkPayload = 64 << 10
	// shortChunk is the capacity of a long frame's chunk, in a lane of a stream, and
	// longChunk in the session's lane. A message of a WebSocket is one chunk.
	shortChunk = chunkPayload + 2*HeaderLength
	longChunk  = MaxBatchLength / 8
	// minFrame is the shortest payload of a frame that fills a chunk.
	minFrame = 1 << 10
	// maxChunkFrames keeps a batch of whole chunks within MaxBatchFrames.
	maxChunkFrames = 512
)

// outbox is the frames that wait to be sent in one lane, in order. They are kept in
// chunks of whole frames. The zero value is empty. The session's mutex guards it.
type outbox struct {
	chunks []chunk
	// shared is set for the lane of all streams, whose chunks are long.
	shared bool
	// fill is set for batches of requests: a frame ends with its chunk, so that a batch
	// of chunks is as long as it may be.
	fill bool
	// mergeable is the offset of the last chunk's last frame if that is a DATA frame
	// that more bytes can be added to, plus 1, and otherwise 0.
	mergeable int
}

type chunk struct {
	b      []byte
	frames int
}

// fits reports whether there is room for n bytes.
func (c *chunk) fits(n int) bool { return n <= c.room() }

func (c *chunk) room() int {
	limit := shortChunk
	if cap(c.b) == longChunk {
		limit = longChunk
	}
	return limit - len(c.b)
}

// room returns how many bytes fit into the last chunk.
func (o *outbox) room() int {
	last := len(o.chunks) - 1
	if last < 0 || o.chunks[last].frames == maxChunkFrames {
		return 0
	}
	return o.chunks[last].room()
}

var (
	shortChunks = sync.Pool{New: func() any { return new([shortChunk]byte) }}
	longChunks  = sync.Pool{New: func() any { return new([longChunk]byte) }}
)

// recycle takes the memory of chunks back, which must not be used any more.
func recycle(parts ...[]byte) {
	for _, b := range parts {
		switch cap(b) {
		case longChunk:
			longChunks.Put((*[longChunk]byte)(b[:longChunk]))
		case shortChunk:
			shortChunks.Put((*[shortChunk]byte)(b[:shortChunk]))
		}
	}
}

func (o *outbox) empty() bool { return len(o.chunks) == 0 }

// tail returns the chunk for a frame of n bytes.
func (o *outbox) tail(n int) *chunk {
	full := false // so more bytes come, however short the frame is
	if last := len(o.chunks) - 1; last >= 0 {
		c := &o.chunks[last]
		if c.fits(n) && c.frames < maxChunkFrames {
			return c
		}
		// After a chunk of short frames, one for long frames would stay empty.
		full = c.frames < maxChunkFrames
	}
	var b []byte
	switch {
	case o.shared && (full || n > longChunk/16):
		b = longChunks.Get().(*[longChunk]byte)[:0]
	case full || n > shortChunk/2:
		b = shortChunks.Get().(*[shortChunk]byte)[:0]
	default:
		b = make([]byte, 0, n)
	}
	o.chunks = append(o.chunks, chunk{b: b})
	o.mergeable = 0
	return &o.chunks[len(o.chunks)-1]
}

// control appends a frame other than DATA. It returns the number of bytes added.
func (o *outbox) control(f Frame) int {
	n := HeaderLength + len(f.Payload)
	c := o.tail(n)
	c.b = f.Append(c.b)
	c.frames++
	o.mergeable = 0
	return n
}

// data appends the first bytes of p, at most limit, to be sent in a stream: to its
// last frame if there is no other behind it, and otherwise in a new one. It returns
// the number of bytes of p, and of those added.
func (o *outbox) data(s *Stream, p []byte, limit int) (n, added int) {
	limit = min(limit, chunkPayload, len(p), s.Credit())
	if limit <= 0 {
		return 0, 0
	}
	if n = o.merge(s, p, limit); n > 0 {
		return n, n
	}
	if room := o.room() - HeaderLength; o.fill && room >= minFrame {
		limit = min(limit, room)
	}
	c := o.tail(HeaderLength + limit)
	start := len(c.b)
	c.b, n = s.AppendData(c.b, p, limit)
	c.frames++
	o.mergeable = start + 1
	return n, HeaderLength + n
}

// merge adds bytes to the last frame, if it is DATA of the same stream and there is
// room, and returns their number.
func (o *outbox) merge(s *Stream, p []byte, limit int) int {
	if o.mergeable == 0 {
		return 0
	}
	c := &o.chunks[len(o.chunks)-1]
	header := c.b[o.mergeable-1:]
	last, _, err := ParseFrame(header)
	if err != nil || last.Stream != s.id || len(last.Payload)+limit > chunkPayload || !c.fits(limit) {
		return 0
	}
	c.b = append(c.b, p[:limit]...)
	s.credit -= uint32(limit)
	appendHeader(c.b[:o.mergeable-1], DataFrame, s.id, len(last.Payload)+limit)
	return limit
}

// take removes the first chunks, of at most maxBytes and within the limits of a
// batch. At least one is taken, if there is one.
func (o *outbox) take(maxBytes int) (parts [][]byte) {
	bytes, frames, n := 0, 0, 0
	for _, c := range o.chunks {
		if n > 0 && (bytes+len(c.b) > min(maxBytes, MaxBatchLength) || frames+c.frames > MaxBatchFrames) {
			break
		}
		bytes, frames, n = bytes+len(c.b), frames+c.frames, n+1
		parts = append(parts, c.b)
	}
	clear(o.chunks[:n])
	if o.chunks = o.chunks[n:]; len(o.chunks) == 0 {
		o.chunks, o.mergeable = nil, 0
	}
	return parts
}
