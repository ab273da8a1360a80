package wsconn

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// subprotocol is the only sub-protocol of MTProto.
const subprotocol = "binary"

// defaultCloseTimeout is longer than any usual round-trip time, and short enough
// for a caller that closes many connections.
const defaultCloseTimeout = time.Second

// DialConfig configures Dial. A nil config is a config of zeros. In a browser
// (js/wasm) the browser connects, and all fields but CloseTimeout are ignored.
type DialConfig struct {
	// Header is added to the upgrade request. Browsers send
	// "Origin: https://web.telegram.org" and a User-Agent; Go's own User-Agent is
	// not sent. Host replaces the URL's host in the request, not in the address
	// that is dialled, nor in TLS. Default: none.
	Header http.Header

	// TLSClientConfig is for wss. ServerName defaults to the host of the URL, and
	// HTTP/2 in NextProtos is not offered. Default: the system's roots.
	TLSClientConfig *tls.Config

	// DialContext opens the TCP connection. Default: a zero net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// CloseTimeout limits the time that Close waits for the peer. Default: 1 s.
	CloseTimeout time.Duration

	// PingInterval is the time of silence after which the peer is pinged, as long as
	// a Read is pending. If nothing arrives within the same time after the ping,
	// both directions end with ErrPingTimeout. Default: no pings.
	PingInterval time.Duration
}

// ServerConfig configures Server and Accept. A nil config is a config of zeros. One
// config may be used for many connections; its functions are then called concurrently.
type ServerConfig struct {
	// CheckPath reports whether to serve a path. For others the response is 404.
	// Default: OfficialPath.
	CheckPath func(path string) bool

	// CheckOrigin reports whether to serve pages of an origin, which is empty for
	// clients other than browsers. For others the response is 403. Default: all
	// are served. Browsers' same-origin rule protects sites that authenticate
	// users by cookie; an MTProto session has its own authentication.
	CheckOrigin func(origin string) bool

	// CloseTimeout limits the time that Close waits for the peer. Default: 1 s.
	CloseTimeout time.Duration

	// PingInterval is the time of silence after which the peer is pinged, as long as
	// a Read is pending. If nothing arrives within the same time after the ping,
	// both directions end with ErrPingTimeout. Default: no pings.
	PingInterval time.Duration
}

// OfficialPath reports whether path is one of the specification or of Telegram's
// web clients: /apis, /apis_test, /apiws, /apiws_test, /apiws_premium or
// /apiws_test_premium. The w requests CORS headers, which WebSocket does not need.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
func OfficialPath(path string) bool {
	switch path {
	case "/apis", "/apis_test", "/apiws", "/apiws_test", "/apiws_premium", "/apiws_test_premium":
		return true
	}
	return false
}
