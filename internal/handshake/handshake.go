package handshake

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
)

// Handshake is a server's handshake with one client. It is an object and not one
// call because it can be resumed: a context may end it while it waits for the
// client, and nothing is lost. It is not safe for concurrent use, except for
// Close.
type Handshake struct {
	config *Config // Run's
	auth   Auth    // Run's

	conn     net.Conn // the layer that source reads
	source   readbuf.Reader
	deadline netx.Deadline
	until    time.Time // limit of the current layer, set by its first byte

	// step continues from where the handshake stands. It looks at what has been
	// read and consumes it only with its decision, so that it can be called
	// again after a context ended it: then resumable is true.
	step      func(*Handshake, context.Context) (*Result, error)
	resumable bool
	layered   bool // something was answered or removed: conn is not as it came
	imitate   bool // a FakeTLS hello was answered, and until is a TLS server's limit

	// transport is what was found so far.
	transport detect.Transport

	// search is allocated by Run: a silent connection has none.
	*search

	// After a FakeTLS hello was answered: the reading direction of its records,
	// and what was in them and is not consumed.
	records *faketls.Deframer
	inner   []byte
}

// search is what a search for the client's key is for, and what it found.
type search struct {
	hello      *faketls.ClientHello
	clientTime time.Time // of hello, if its key was found
	key        [16]byte  // hello's

	payload []byte // begins with the init payload; good until the next fill
	init    obfuscation.Init
}

// New returns the handshake with the client at the other end of socket. It does
// no I/O.
func New(socket net.Conn) *Handshake {
	h := &Handshake{conn: socket, step: (*Handshake).identify}
	h.transport.Secret = -1
	h.source.Reset(socket)
	h.deadline.Rebind(socket.SetReadDeadline)
	return h
}

// Await waits for the client's first byte, without a time limit of its own. A
// connection may wait in here for days, so the way down needs little stack. When
// ctx ends first, nothing is lost.
func (h *Handshake) Await(ctx context.Context) error {
	h.resumable = true
	err := h.deadline.Watch(ctx)
	if err != nil {
		return err
	}
	err = h.firstByte(ctx)
	h.deadline.Unwatch()
	return err
}

// Run completes the handshake, after Await. It reads no further than it must,
// but may have read more: see Result.Buffered. If it is called again, config and
// auth must be the same.
//
// The error is *UnauthenticatedError if the client is not authenticated; if
// nothing was answered, the connection is then the caller's, to be handed to
// another server. It is ctx's if ctx ended; then Run may be called again if
// Resumable. All others are final.
func (h *Handshake) Run(ctx context.Context, config *Config, auth Auth) (*Result, error) {
	h.config, h.auth = config, auth
	h.resumable = true
	if err := h.deadline.Watch(ctx); err != nil {
		return nil, err
	}
	h.resumable = false
	if h.search == nil {
		h.search = new(search)
	}
	h.startTimer()
	result, err := h.step(h, ctx)
	if h.resumable {
		h.deadline.Unwatch()
		return nil, err
	}
	h.deadline.Close()
	h.source.Release()
	if err != nil {
		return nil, err
	}
	result.Transport = h.transport
	return result, nil
}

// Resumable reports whether the last Await or Run failed because its context
// ended while it waited for the client, and may be called again.
func (h *Handshake) Resumable() bool { return h.resumable }

// Transport returns what was found so far. Its FakeTLS and Secret are good if a
// hello was answered, even if the handshake failed afterwards.
func (h *Handshake) Transport() detect.Transport { return h.transport }

// Close releases what ties the handshake to contexts that may outlive it. It may
// be called while Await or Run runs, by a caller that closes the socket.
func (h *Handshake) Close() { h.deadline.Close() }

// bytes returns what has been read from the current layer and not consumed. It
// is good until the next fill.
func (h *Handshake) bytes() []byte {
	if h.records != nil {
		return h.inner
	}
	return h.source.Bytes()
}

// first returns all that the client has sent, nil if something was answered or
// removed.
func (h *Handshake) first() []byte {
	if h.layered {
		return nil
	}
	return h.source.Bytes()
}

// Abandon ends a handshake whose context has ended, if it is Resumable, and
// returns all that the client has sent. The connection is then as if nothing had
// been read.
func (h *Handshake) Abandon() []byte {
	h.deadline.Close()
	first := h.source.Take()
	h.conn.SetReadDeadline(time.Time{})
	return first
}

// fill reads at least one byte more from the current layer.
func (h *Handshake) fill() error {
	if h.records == nil {
		return h.source.Fill()
	}
	for {
		// First what came with the hello, or the error behind the last bytes.
		b := h.source.Bytes()
		n, err := h.records.Deframe(b)
		h.inner = append(h.inner, b[:n]...)
		h.source.Consume(len(b))
		if n > 0 {
			return nil
		}
		if err == nil {
			err = h.source.Fill()
		}
		if err == io.EOF && (len(h.inner) > 0 || !h.records.Complete()) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

// firstByte waits for the first byte of a layer, for as long as ctx allows.
func (h *Handshake) firstByte(ctx context.Context) error {
	if len(h.bytes()) == 0 {
		if err := h.fill(); err != nil {
			return h.noFirstByte(ctx, err)
		}
	}
	return nil
}

func (h *Handshake) noFirstByte(ctx context.Context, err error) error {
	err = netx.Cause(ctx, err)
	h.resumable = ctx.Err() != nil && errors.Is(err, ctx.Err())
	return err
}

// startTimer limits the layer from now, unless it is limited already.
func (h *Handshake) startTimer() {
	if h.until.IsZero() {
		timeout := h.config.timeout()
		if timeout < 0 {
			return
		}
		h.until = time.Now().Add(timeout)
	}
	h.deadline.SetLimit(h.until)
}

// more reads until n bytes of the current layer are there, and returns all there
// are. They are good until the next fill.
func (h *Handshake) more(ctx context.Context, n int) ([]byte, error) {
	switch {
	case h.imitate:
		h.deadline.SetLimit(h.until)
	case h.layered && len(h.bytes()) == 0:
		// The client has shown that it speaks the layer below, and may keep the
		// connection open for later use with nothing else.
		h.deadline.SetLimit(time.Time{})
		h.until = time.Time{}
		if err := h.firstByte(ctx); err != nil {
			return nil, err
		}
		h.startTimer()
	}
	for {
		b := h.bytes()
		switch {
		case len(b) >= n:
			return b, nil
		case !h.layered && len(b) > 0:
			h.auth.Undecided(b)
		case h.imitate && len(b) > 0 && h.records.Complete():
			return nil, h.rejectInside(ErrShortRecord)
		}
		if err := h.fill(); err != nil {
			if netx.IsTimeout(err) && ctx.Err() != nil {
				h.resumable = true
				return nil, ctx.Err()
			}
			return nil, h.readError(err)
		}
	}
}

// popLayer returns the layer read from so far, with what was read and not
// consumed put back in front.
func (h *Handshake) popLayer() net.Conn {
	h.layered = true
	h.deadline.SetLimit(time.Time{})
	if rest := h.source.Take(); len(rest) > 0 {
		return &replayConn{Conn: h.conn, rest: rest}
	}
	return h.conn
}

// pushLayer puts conn on top: it is read from now on, and step continues with it.
func (h *Handshake) pushLayer(conn net.Conn, step func(*Handshake, context.Context) (*Result, error)) {
	h.conn, h.step = conn, step
	h.source.Reset(conn)
	h.deadline.Rebind(conn.SetReadDeadline)
}
