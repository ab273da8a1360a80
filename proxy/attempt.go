package proxy

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/netx"
)

// Attempt is one attempt to connect to a data centre.
type Attempt struct {
	DC datacenter.DC
	// Upstream is "direct", or the upstream without credentials, and Address the
	// data centre's address, or the upstream's if that is an MTProxy.
	Upstream, Address string
	// Duration is the time to the connection, with the handshakes of the upstream,
	// or to the error.
	Duration time.Duration
	// Err is nil if the attempt has succeeded.
	Err error
}

// AttemptFailure is why an Attempt has failed, in a word.
type AttemptFailure string

// The failures, "" for none.
const (
	AttemptTimeout     AttemptFailure = "timeout"     // it took longer than Config.DialTimeout
	AttemptRefused     AttemptFailure = "refused"     // the address refuses connections
	AttemptReset       AttemptFailure = "reset"       // the connection ended in the handshake of the upstream
	AttemptUnreachable AttemptFailure = "unreachable" // there is no way to the address
	AttemptUnresolved  AttemptFailure = "unresolved"  // the host name was not found
	AttemptLocal       AttemptFailure = "local"       // this machine has no descriptor, memory or port
	AttemptOther       AttemptFailure = "other"       // such as a refusal by the upstream
)

// Failure returns why the attempt has failed.
func (a *Attempt) Failure() AttemptFailure {
	var name *net.DNSError
	var timeout net.Error
	switch {
	case a.Err == nil:
		return ""
	case netx.IsLocal(a.Err):
		return AttemptLocal
	case errors.As(a.Err, &name):
		return AttemptUnresolved
	case errors.As(a.Err, &timeout) && timeout.Timeout():
		return AttemptTimeout
	case netx.IsErrno(a.Err, netx.ECONNREFUSED):
		return AttemptRefused
	case netx.IsErrno(a.Err, netx.ECONNRESET, netx.EPIPE) || errors.Is(a.Err, io.EOF) || errors.Is(a.Err, io.ErrUnexpectedEOF):
		return AttemptReset
	case netx.IsErrno(a.Err, netx.EHOSTUNREACH, netx.ENETUNREACH):
		return AttemptUnreachable
	}
	return AttemptOther
}

// Answer is the first byte that a data centre has sent on a session.
type Answer struct {
	DC       datacenter.DC
	Upstream string // as in Attempt
	// Waited is the time since the first packet of the upload was sent, also if the
	// session was moved on meanwhile. It is 0 if the data centre has sent bytes before.
	Waited time.Duration
}
