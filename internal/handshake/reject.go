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

// UnauthenticatedError is Run's error for an unauthenticated client: its bytes are no
// transport that the server accepts, or no secret matches.
type UnauthenticatedError struct {
	// First is all that was read of the current layer. It belongs to the caller.
	First []byte

	// Answered means that the server has answered a layer: TLS, FakeTLS or
	// WebSocket. Without Answered, First is all that was read from the connection,
	// nothing was written and it has no deadline.
	Answered bool

	// Until is the end of the handshake's time.
	Until time.Time

	// Err is the reason.
	Err error
}

func (e *UnauthenticatedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UnauthenticatedError) Unwrap() error { return e.Err }

// reject returns the error for a client that is unauthenticated for that reason.
func (h *Handshake) reject(reason error) error {
	return &UnauthenticatedError{First: slices.Clone(h.bytes()), Answered: h.layered, Until: h.until, Err: reason}
}

// readError returns the error for a read that failed with err before the layer was
// complete.
func (h *Handshake) readError(err error) error {
	switch {
	case netx.IsTimeout(err):
		return h.reject(ErrTimeout)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return h.reject(io.ErrUnexpectedEOF)
	case errors.Is(err, faketls.ErrMalformed) && !isAlert(err):
		h.alert()
	}
	return err
}

// isAlert reports whether err is about an alert of the client's. OpenSSL, and so most
// sites, answer it by closing alone.
func isAlert(err error) bool {
	var record *faketls.RecordError
	return errors.As(err, &record) && faketls.RecordType(record.Header[0]) == faketls.RecordAlert
}

// Discard reads from conn, the client's connection, for the rest of the handshake's
// time and drops the bytes: an early close would tell the client that it was
// rejected. It returns at once if the time is over or the client has ended its
// stream.
func (e *UnauthenticatedError) Discard(ctx context.Context, conn net.Conn) {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) || errors.Is(e.Err, ErrTimeout) {
		return
	}
	limited, cancel := context.WithDeadline(ctx, e.Until)
	defer cancel()
	netx.Discard(limited, conn)
}
