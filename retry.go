package mtwire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxydial"
	"github.com/mtwire/mtwire/wsconn"
)

// Retryable reports whether a client that gets err from Dial, Send or Receive may
// succeed with a new connection to the same endpoint, after a pause that grows. Over
// HTTP, where the Conn outlives a failed request, it is the packet that is sent again.
//
//	true    the network: refused, reset, unreachable, a timeout of its own or of
//	        DialTimeout, the end of the peer's stream, a failure of the resolver
//	true    a server or proxy that is overloaded or restarts: the transport error
//	        429, HTTP status 408, 429 or 500 and above, WebSocket status 1011 to 1014
//	true    the end of a session with a WEB proxy
//	false   a refusal that will be repeated: the other transport errors and statuses, a
//	        certificate, a proxy that asks for another user, a host that does not exist
//	false   a peer that does not speak the protocol, such as a web site behind an
//	        address that was an MTProxy, or one with another secret
//	false   a context that ended, a connection that the caller closed, and an
//	        endpoint, a packet or a configuration that is not valid
//
// 404, an unknown auth key, and 444, a wrong DC, are for the layer above, which makes a
// new key or dials another data centre. An MTProxy with another secret ends the
// connection, or is silent: that is no different from a bad network.
func Retryable(err error) bool {
	var (
		code     *TransportError
		upgrade  *wsconn.HandshakeError
		closed   *wsconn.CloseError
		proxy    proxydial.StatusError
		verify   *tls.CertificateVerificationError
		alert    tls.AlertError
		resolver *net.DNSError
	)
	if retry, ok := retryableWEB(err); ok {
		return retry
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &code):
		return code.Code == frame.CodeFlood || code.Code == http.StatusRequestTimeout || code.Code >= 500
	case errors.As(err, &upgrade):
		return retryableStatus(upgrade.Status)
	case errors.As(err, &closed):
		return closed.Status >= 1011 && closed.Status <= 1014
	case errors.As(err, &proxy):
		return retryableStatus(int(proxy))
	case errors.Is(err, proxydial.ErrAuthentication), errors.As(err, &verify), errors.As(err, &alert):
		return false
	case errors.As(err, &resolver):
		return !resolver.IsNotFound
	case errors.Is(err, net.ErrClosed):
		return false
	}
	return isNetworkError(err)
}

func retryableStatus(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

// isNetworkError reports whether the network, or the peer's end, is the cause of err.
func isNetworkError(err error) bool {
	for _, cause := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, os.ErrDeadlineExceeded, wsconn.ErrPingTimeout, ErrPacketTimeout,
	} {
		if errors.Is(err, cause) {
			return !isInvalid(err)
		}
	}
	var operation *net.OpError
	var number netx.Errno
	return (errors.As(err, &operation) || errors.As(err, &number)) && !isInvalid(err)
}

// isInvalid reports whether the cause of err is an address or network that cannot be
// dialled, or a response that is no packet.
func isInvalid(err error) bool {
	var address *net.AddrError
	var parse *net.ParseError
	var network net.UnknownNetworkError
	return errors.As(err, &address) || errors.As(err, &parse) || errors.As(err, &network) || errors.Is(err, httpconn.ErrLength)
}
