package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/mtwire/mtwire"
)

// check makes one echo, and says what may be wrong if that fails.
func (r *runner) check(ctx context.Context, t *Target) error {
	before := r.DataCenter.Accepted()
	limited, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	c, err := t.dial(limited, 0, r.PacketSize)
	if err == nil {
		return c.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.diagnose(t, err, r.DataCenter.Accepted() > before)
}

// diagnose says what a first echo that failed means. reached says whether a
// connection came to the data centre meanwhile.
func (r *runner) diagnose(t *Target, err error, reached bool) error {
	place := r.DataCenter.Addr()
	var dial *net.OpError
	var refusal *mtwire.TransportError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("cannot connect to %s: %w", r.name(t), err)
	case errors.As(err, &refusal), errors.Is(err, errForeign):
		return fmt.Errorf("the answer is not of the data centre at %v: %s routes %s elsewhere: %w",
			place, r.name(t), t.Endpoint.DC.Describe(), err)
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("through %s: %w", r.name(t), err)
	case reached:
		return fmt.Errorf("%s connected to the data centre at %v, but no answer came back: %w", r.name(t), place, err)
	}
	guess := fmt.Sprintf("wrong secret, or it does not route %s to %v", t.Endpoint.DC.Describe(), place)
	switch {
	case isClosed(err):
		return fmt.Errorf("%s closed the connection without an answer: %s: %w", r.name(t), guess, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %v: %s", r.name(t), r.Patience, guess)
	}
	return fmt.Errorf("%s did not answer as an MTProxy does: %s: %w", r.name(t), guess, err)
}

// explain adds what to do about an error in the middle of a phase, where that
// can be told.
func (r *runner) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%w: this process has no more file descriptors, and needs two for each connection: "+
			"fewer connections, or a higher limit (ulimit -n)", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: the system has no more ports to connect from: "+
			"fewer connections, or a wider net.ipv4.ip_local_port_range", err)
	case isClosed(err):
		return fmt.Errorf("%w: the connection was closed, perhaps for want of file descriptors or ports there, "+
			"or by a limit on connections", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer within %v, perhaps for want of file descriptors there", err, r.Patience)
	}
	return err
}

// isClosed says whether the peer ended the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
