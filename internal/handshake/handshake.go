package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// Handshake is a server's handshake with one client. When a context ends Await or Run
// while it waits for the client, nothing is lost, and a later call resumes the
// handshake. A Handshake is not safe for concurrent use, except for Close.
type Handshake struct {
	config *Config // from Run
	auth   Auth    // from Run

	conn     net.Conn // the layer that source reads
	source   readbuf.Reader
	deadline netx.Deadline
	until    time.Time // limit of the current layer, set by its first byte

	// step handles the current layer and those in it, and stores the result. It reads
	// without consuming and consumes with its decision, so that it can be called again
	// after its context ended. Then resumable is true.
	step      func(*Handshake, context.Context) error
	resumable bool
	layered   bool // a layer was answered or removed: conn is not the bare socket
	imitate   bool // a FakeTLS hello was answered, and until is a TLS server's limit

	// transport has the layers found so far.
	transport detect.Transport

	// runState is allocated by Run, so that a silent connection has none.
	*runState

	// records and inner are set after a FakeTLS hello was answered. inner has the
	// bytes from the records that are not consumed.
	records *faketls.Deframer
	inner   []byte
}

// runState has the arguments and results of the searches for the client's key, and the
// result of the handshake.
type runState struct {
	hello      *faketls.ClientHello
	clientTime time.Time   // of hello, if its key was found
	key        [1][16]byte // of hello, if it was found

	// fits means that the last search has met the client's key, whatever Find then
	// decided. id, if hasID, is of the last hello or init payload that Auth.Replayed was
	// called with, and seen the result.
	fits, hasID, seen bool
	id                [16]byte

	payload []byte // begins with the init payload; valid until the next fill
	init    obfuscation.Init

	result Result
}

// New returns a handshake with the client at the other end of socket. It does no I/O.
func New(socket net.Conn) *Handshake {
	h := &Handshake{conn: socket, step: (*Handshake).identify}
	h.transport.Secret = -1
	h.source.Reset(socket)
	h.deadline.Rebind(socket.SetReadDeadline)
	return h
}

// DetectLayers makes the layers that the socket has already a part of the handshake: a
// WebSocket, in which only an init payload is valid, and which was answered, and TLS,
// whose handshake may be due. It may be called before Await.
func (h *Handshake) DetectLayers() {
	conn, overTLS := netx.Below[*tls.Conn](h.conn)
	h.transport.TLS = overTLS
	if _, ok := netx.Below[*wsconn.Conn](h.conn); ok {
		h.transport.Carrier, h.step, h.layered = detect.CarrierWebSocket, (*Handshake).obfuscated, true
		if overTLS {
			h.transport.ServerName = conn.ConnectionState().ServerName
		}
	} else if overTLS {
		h.step = (*Handshake).acceptedTLS
	}
}

// InStream makes h the handshake of a stream that is inside a layer of the caller's, which
// has answered its client: only an init payload is valid. It may be called before Await.
func (h *Handshake) InStream() { h.step, h.layered = (*Handshake).obfuscated, true }

// SetConfig replaces the config. It may be called between Await and the first Run: a
// server's config may change while its client is silent.
func (h *Handshake) SetConfig(config *Config) { h.config = config }

// Await waits for the client's first byte, or for nothing if the handshake of TLS is
// due. Only ctx limits the time. When ctx ends, nothing is lost. Idle connections wait
// in Await, so its calls need little stack.
func (h *Handshake) Await(ctx context.Context) error {
	h.resumable = true
	err := h.deadline.Watch(ctx)
	if err != nil {
		return err
	}
	if !h.transport.TLS || !h.tlsIsDue() {
		err = h.firstByte(ctx)
	}
	h.deadline.Unwatch()
	return err
}

// AwaitFor is Await for at most limit. Then the error is os.ErrDeadlineExceeded, and
// nothing is lost.
func (h *Handshake) AwaitFor(ctx context.Context, limit time.Duration) error {
	h.deadline.SetLimit(time.Now().Add(limit))
	err := h.Await(ctx)
	h.deadline.SetLimit(time.Time{})
	if netx.IsTimeout(err) && ctx.Err() == nil {
		h.resumable = true
		return os.ErrDeadlineExceeded
	}
	return err
}

// Run completes the handshake, after Await. It may read bytes behind the handshake:
// see Result.Buffered. Further calls must have the same config and auth.
//
// The error is *UnauthenticatedError for an unauthenticated client. If nothing was
// answered, the caller can forward the connection to another server. The error is
// ctx's if ctx ended; then Run may be called again if Resumable. All others are
// final.
func (h *Handshake) Run(ctx context.Context, config *Config, auth Auth) (*Result, error) {
	h.config, h.auth = config, auth
	h.resumable = true
	if err := h.deadline.Watch(ctx); err != nil {
		return nil, err
	}
	h.resumable = false
	if h.runState == nil {
		h.runState = new(runState)
	}
	h.startTimer()
	err := h.step(h, ctx)
	if h.resumable {
		h.deadline.Unwatch()
		return nil, err
	}
	h.deadline.Close()
	h.source.Release()
	if err != nil {
		return nil, err
	}
	h.result.Transport = h.transport
	return &h.result, nil
}

// Resumable reports whether Await or Run may be called again: the last call failed
// because its context ended while it waited for the client.
func (h *Handshake) Resumable() bool { return h.resumable }

// Transport returns the layers found so far. FakeTLS and Secret are valid once a
// hello was answered, even if the handshake fails afterwards.
func (h *Handshake) Transport() detect.Transport { return h.transport }

// Close ends the handshake's registration with a context, which may outlive it. A
// caller that closes the socket may call it while Await or Run runs.
func (h *Handshake) Close() { h.deadline.Close() }

// bytes returns the bytes of the current layer that were read and not consumed. They
// are valid until the next fill.
func (h *Handshake) bytes() []byte {
	if h.records != nil {
		return h.inner
	}
	return h.source.Bytes()
}

// first returns all that the client has sent, nil if a layer was answered or removed.
func (h *Handshake) first() []byte {
	if h.layered {
		return nil
	}
	return h.source.Bytes()
}

// Abandon ends a Resumable handshake and returns all that the client has sent. The
// connection is then as if nothing had been read.
func (h *Handshake) Abandon() []byte {
	h.deadline.Close()
	return h.source.Take()
}

// fill reads at least one byte more from the current layer.
func (h *Handshake) fill() error {
	if h.records == nil {
		return h.source.Fill()
	}
	for {
		// First the bytes behind the hello, or the error behind the last bytes.
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
			return h.firstByteError(ctx, err)
		}
	}
	return nil
}

// firstByteError is not a part of firstByte, for the sake of its stack.
func (h *Handshake) firstByteError(ctx context.Context, err error) error {
	err = netx.Cause(ctx, err)
	h.resumable = ctx.Err() != nil && errors.Is(err, ctx.Err())
	return err
}

// startTimer starts the time limit of the current layer, unless it runs already.
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

// readAtLeast reads until the current layer has n unconsumed bytes or more, and
// returns them. They are valid until the next fill.
func (h *Handshake) readAtLeast(ctx context.Context, n int) ([]byte, error) {
	switch {
	case h.imitate:
		h.deadline.SetLimit(h.until)
	case h.layered && len(h.bytes()) == 0:
		// The layer below is complete. The client may keep the connection open for
		// later use and send nothing.
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

// popLayer returns the current layer's connection, with the unconsumed bytes put back
// in front.
func (h *Handshake) popLayer() net.Conn {
	h.layered = true
	h.deadline.SetLimit(time.Time{})
	if rest := h.source.Take(); len(rest) > 0 {
		return &replayConn{Conn: h.conn, rest: rest}
	}
	return h.conn
}

// pushLayer makes conn the current layer's connection, and step the layer.
func (h *Handshake) pushLayer(conn net.Conn, step func(*Handshake, context.Context) error) {
	h.conn, h.step = conn, step
	h.source.Reset(conn)
	h.deadline.Rebind(conn.SetReadDeadline)
}
