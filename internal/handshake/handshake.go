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
	config *Config
	auth   Auth
	socket net.Conn

	conn     net.Conn // the layer that source reads
	source   readbuf.Reader
	deadline netx.Deadline
	until    time.Time // limit of the current layer, set by its first byte
	layered  bool      // something was answered or removed: there is no way back

	// step continues from where the handshake stands. It looks at what has been
	// read and consumes it only with its decision, so that it can be called
	// again after a context ended it: then resumable is true.
	step      func(ctx context.Context) (*Result, error)
	resumable bool

	// transport is what was found so far.
	transport detect.Transport

	// After a FakeTLS hello was answered: the client's key, the reading
	// direction of its records, and what was in them and is not consumed.
	key     [16]byte
	records *faketls.Deframer
	inner   []byte

	// What a search is for, and what it left.
	hello      *faketls.ClientHello
	payload    []byte // begins with the init payload; good until the next fill
	clientTime time.Time
	init       obfuscation.Init
}

// New returns the handshake with the client at the other end of socket. It does
// no I/O.
func New(socket net.Conn, config *Config, auth Auth) *Handshake {
	h := &Handshake{config: config, auth: auth, socket: socket, conn: socket}
	h.transport.Secret = -1
	h.step = h.identify
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
// but may have read more: see Result.Buffered.
//
// The error is *UnauthenticatedError if the client is not authenticated; if
// nothing was answered, the connection is then the caller's, to be handed to
// another server. It is ctx's if ctx ended; then Run may be called again if
// Resumable. All others are final.
func (h *Handshake) Run(ctx context.Context) (*Result, error) {
	h.resumable = true
	if err := h.deadline.Watch(ctx); err != nil {
		return nil, err
	}
	h.resumable = false
	h.startTimer()
	result, err := h.step(ctx)
	if h.resumable {
		h.deadline.Unwatch()
		return nil, err
	}
	h.deadline.Close()
	if err == nil {
		result.Transport = h.transport
		return result, nil
	}
	h.source.Release()
	var rejected *UnauthenticatedError
	if errors.As(err, &rejected) && !rejected.Answered {
		h.socket.SetReadDeadline(time.Time{})
	}
	return nil, err
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

// fill reads at least one byte more from the current layer.
func (h *Handshake) fill() error {
	if h.records == nil {
		return h.source.Fill()
	}
	for {
		if err := h.source.Fill(); err != nil {
			if err == io.EOF && (len(h.inner) > 0 || !h.records.Complete()) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if n, err := h.deframe(); n > 0 || err != nil {
			return err
		}
	}
}

// deframe moves what was read from the socket out of its records. An error
// behind bytes that belong to the stream is returned by the next call.
func (h *Handshake) deframe() (n int, err error) {
	b := h.source.Bytes()
	n, err = h.records.Deframe(b)
	h.inner = append(h.inner, b[:n]...)
	h.source.Consume(len(b))
	if n > 0 {
		err = nil
	}
	return n, err
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
		h.until = time.Now().Add(h.config.timeout())
	}
	h.deadline.SetLimit(h.until)
}

// more reads until n bytes of the current layer are there, and returns all there
// are. They are good until the next fill.
func (h *Handshake) more(ctx context.Context, n int) ([]byte, error) {
	if h.layered && len(h.bytes()) == 0 {
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
		if len(b) >= n {
			return b, nil
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
func (h *Handshake) pushLayer(conn net.Conn, step func(context.Context) (*Result, error)) {
	h.conn, h.step = conn, step
	h.source.Reset(conn)
	h.deadline.Rebind(conn.SetReadDeadline)
}
