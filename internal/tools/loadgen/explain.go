package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/netx"
)

// check connects once and makes an echo, and reports how TCP sends on that
// connection. If it fails, the error has a diagnosis.
func (r *runner) check(ctx context.Context, t *Target) error {
	before := r.DataCenter.Accepted()
	limited, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	c, err := t.dialThrough(limited, func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := t.dialer(0).DialContext(ctx, network, address)
		if err == nil && r.report.TCP == nil {
			r.report.TCP, r.report.Warnings = tcpOf(conn)
		}
		return conn, err
	}, r.PacketSize)
	if err == nil {
		return c.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.diagnose(t, err, r.DataCenter.Accepted() > before)
}

// diagnose adds a cause to err, the error of a first echo. reached reports whether
// the data centre accepted a connection meanwhile.
func (r *runner) diagnose(t *Target, err error, reached bool) error {
	address := r.DataCenter.Addr()
	var dial *net.OpError
	var refusal *mtwire.TransportError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("cannot connect to %s: %w", r.name(t), err)
	case errors.As(err, &refusal), errors.Is(err, errForeign):
		return fmt.Errorf("the answer is not of the data centre at %v: %s routes %s elsewhere: %w",
			address, r.name(t), t.Endpoint.DC.Describe(), err)
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("through %s: %w", r.name(t), err)
	case reached:
		return fmt.Errorf("%s connected to the data centre at %v, but no answer came back: %w", r.name(t), address, err)
	}
	guess := fmt.Sprintf("wrong secret, or it does not route %s to %v", t.Endpoint.DC.Describe(), address)
	switch {
	case isClosed(err):
		return fmt.Errorf("%s closed the connection without an answer: %s: %w", r.name(t), guess, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %v: %s", r.name(t), r.Timeout, guess)
	}
	return fmt.Errorf("%s did not answer as an MTProxy does: %s: %w", r.name(t), guess, err)
}

// explain adds the probable cause and the remedy to an error in the middle of a
// phase, where they are known.
func (r *runner) explain(err error) error {
	switch {
	case netx.IsErrno(err, netx.EMFILE, netx.ENFILE):
		return fmt.Errorf("%w: this process has no file descriptors left, and needs two for each connection: "+
			"use fewer connections, or raise the limit (ulimit -n)", err)
	case netx.IsErrno(err, netx.EADDRNOTAVAIL):
		return fmt.Errorf("%w: the system has no local ports left: "+
			"use fewer connections, or widen net.ipv4.ip_local_port_range", err)
	case isClosed(err):
		return fmt.Errorf("%w: the connection was closed, perhaps by a limit on connections, "+
			"or because the peer has no file descriptors or ports left", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer within %v, perhaps because the peer has no file descriptors left", err, r.Timeout)
	}
	return err
}

// isClosed reports whether err is that of a connection that the peer closed.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		netx.IsErrno(err, netx.ECONNRESET, netx.ECONNABORTED, netx.EPIPE)
}
