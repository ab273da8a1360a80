package handshake

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
)

// UnauthenticatedError ends the handshake of a client that is not authenticated:
// its bytes are no transport that the server accepts, or no secret fits.
type UnauthenticatedError struct {
	// First is all that was read of the current layer. It belongs to the caller.
	First []byte

	// Answered means that the server has answered something already: a TLS or
	// FakeTLS hello, a WebSocket upgrade. Otherwise First is all that the client
	// has sent, and the connection is as if nothing had been read.
	Answered bool

	// Until is when the time of the handshake is over.
	Until time.Time

	// Err is the reason.
	Err error
}

func (e *UnauthenticatedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UnauthenticatedError) Unwrap() error { return e.Err }

var errUnknown = errors.New("unknown transport")

// reject is the error for what the client has sent so far.
func (h *Handshake) reject(reason error) error {
	return &UnauthenticatedError{First: slices.Clone(h.bytes()), Answered: h.layered, Until: h.until, Err: reason}
}

// readError is the error for a read that failed with err before the layer was
// complete.
func (h *Handshake) readError(err error) error {
	switch {
	case netx.IsTimeout(err):
		return h.reject(ErrTimeout)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return h.reject(io.ErrUnexpectedEOF)
	case errors.Is(err, faketls.ErrMalformed):
		h.alert()
	}
	return err
}

// Discard reads on from conn, the client's connection, for the rest of the
// handshake's time and drops what it reads, so that the client cannot tell from
// an early close that it was rejected. It returns at once for a client whose time
// is over or that has ended its stream.
func (e *UnauthenticatedError) Discard(ctx context.Context, conn net.Conn) {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) || errors.Is(e.Err, ErrTimeout) {
		return
	}
	limited, cancel := context.WithDeadline(ctx, e.Until)
	defer cancel()
	netx.Discard(limited, conn)
}
