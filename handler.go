package mtwire

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"path"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/wsconn"
)

// Handler returns an http.Handler that serves the WebSocket and HTTP carriers, for the
// paths of an existing http.ServeMux. It calls handle for each WebSocket, and for each
// POST, in the goroutine of the request, and closes the Conn when handle returns.
//
// A POST is a Conn of its own, because a connection to an http.Server may carry those of
// several clients, and other requests: the first Receive returns its packet, Send and
// SendError its response, and then Receive returns io.EOF. Without a response it is an
// empty one, after the WaitLimit of ListenConfig.HTTP or when handle returns. A handle
// that serves a Listener serves both.
//
// Of config, the paths are the mux's: CheckPath of WebSocket and HTTP default to all
// paths, of which those that end like one of httpconn.OfficialPath have its CORS headers.
// TLS is the http.Server's. With Secrets, and without AllowNoSecret, a WebSocket client
// must have a secret, and a POST is answered with 404. Unauthenticated is not called:
// the http.Server has answered or will, and a rejected POST is answered with 404.
//
// The http.Server's timeouts apply until the upgrade, and to every POST: a WriteTimeout
// must be longer than WaitLimit. http.Server.Shutdown does not wait for WebSockets. The
// context of handle is the request's.
func Handler(config *ListenConfig, handle func(ctx context.Context, conn *Conn)) http.Handler {
	h := &handler{settings: newServerSettings(config), handle: handle}
	if ws := h.settings.WebSocket; ws != nil {
		h.webSocket = *ws
	}
	if h.webSocket.CheckPath == nil {
		h.webSocket.CheckPath = func(string) bool { return true }
	}
	h.http = *h.settings.http()
	if h.http.CheckPath == nil {
		h.http.CheckPath = func(name string) httpconn.Access {
			return max(httpconn.OfficialPath("/"+path.Base(name)), httpconn.Direct)
		}
	}
	return h
}

type handler struct {
	settings  *serverSettings
	webSocket wsconn.ServerConfig
	http      httpconn.ServerConfig
	handle    func(ctx context.Context, conn *Conn)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var conn *Conn
	if r.Method == http.MethodGet {
		conn = h.acceptWebSocket(w, r)
	} else {
		conn = h.acceptHTTP(w, r)
	}
	if conn != nil {
		defer conn.Close()
		h.handle(r.Context(), conn)
	}
}

// acceptWebSocket upgrades the request, or answers it and returns nil.
func (h *handler) acceptWebSocket(w http.ResponseWriter, r *http.Request) *Conn {
	ws, err := wsconn.Accept(w, r, &h.webSocket)
	if err != nil {
		return nil
	}
	return newServerConn(ws, h.settings)
}

// acceptHTTP returns a Conn for a POST, or answers the request and returns nil.
func (h *handler) acceptHTTP(w http.ResponseWriter, r *http.Request) *Conn {
	transport := Transport{Carrier: HTTP, TLS: r.TLS != nil, Secret: -1}
	refused := len(h.settings.Secrets) > 0 && !h.settings.AllowNoSecret
	if refused || r.Method == http.MethodPost && h.settings.ListenConfig.Allow != nil && h.settings.ListenConfig.Allow(transport) != nil {
		http.NotFound(w, r)
		return nil
	}
	c := &Conn{net: requestConn{w: w, r: r}, side: frame.Server, settings: h.settings, transport: transport}
	config := h.http
	c.limitHTTP(&config, c.net)
	request, err := httpconn.Accept(w, r, &config)
	if err != nil {
		return nil
	}
	c.http = request
	c.ready.Store(true)
	return c
}

// requestConn has the addresses of a request's connection, which is the http.Server's.
type requestConn struct {
	net.Conn // nil
	w        http.ResponseWriter
	r        *http.Request
}

// LocalAddr returns the http.Server's address, or nil without one.
func (c requestConn) LocalAddr() net.Addr {
	address, _ := c.r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return address
}

// RemoteAddr returns the client's address as a *net.TCPAddr, or an empty one if the
// request has none, as behind a Unix socket.
func (c requestConn) RemoteAddr() net.Addr {
	address, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	return net.TCPAddrFromAddrPort(address)
}

// Close makes a read of the request's body fail. It must not wait for that read, as the
// body's own Close does.
func (c requestConn) Close() error {
	return http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0))
}
