package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/drain"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/splice"
)

// A web site in this process, on the ports of the proxy: an unauthenticated client whose
// TLS hello names it is served by it in place of a fronting host. The site may have a
// relay, whose streams come back as connections of their own: see webstream.go.

// WebSite is a web site that serves clients of the proxy's listeners. Both fields are
// required.
type WebSite struct {
	// Host is the site's host name, in ASCII.
	Host string

	// Serve serves a client that is not authenticated, and whose TLS hello names Host.
	// The hello is the first thing that conn returns. Serve owns conn, and closes it. It
	// is called concurrently, and must not block.
	Serve func(conn *WebConn)
}

// check returns an error unless w can serve, or is nil.
func (w *WebSite) check() error {
	switch {
	case w == nil:
		return nil
	case w.Host == "":
		return errors.New("proxy: the web site has no host name")
	case w.Serve == nil:
		return errors.New("proxy: the web site has no Serve")
	}
	return nil
}

// names reports whether a server name is the site's.
func (w *WebSite) names(serverName string) bool {
	return w != nil && serverName != "" && strings.EqualFold(serverName, w.Host)
}

// WebConn is a connection that the web site serves. Until Authenticated it counts as one
// to a fronting host does, against the limits of unauthenticated connections, and may be
// closed to make room for others.
type WebConn struct {
	net.Conn // the client's socket
	session  *session
	host     string // the site's
	hello    []byte // that is not read again yet

	up, down atomic.Int64
	carrier  atomic.Bool
	err      error // why the client is not authenticated
	closing  sync.Once
}

// Read returns the hello, and then what follows it.
func (c *WebConn) Read(p []byte) (n int, err error) {
	if len(c.hello) > 0 {
		n = copy(p, c.hello)
		if c.hello = c.hello[n:]; len(c.hello) == 0 {
			c.hello = nil
		}
	} else {
		n, err = c.Conn.Read(p)
	}
	c.moved(&c.up, n)
	return n, err
}

// Write writes to the client.
func (c *WebConn) Write(p []byte) (n int, err error) {
	if c.down.Load() == 0 {
		c.session.setClass(admission.Answered)
	}
	n, err = c.Conn.Write(p)
	c.moved(&c.down, n)
	return n, err
}

func (c *WebConn) moved(total *atomic.Int64, n int) {
	if n > 0 {
		total.Add(int64(n))
		if !c.carrier.Load() {
			c.session.visitorMoved()
		}
	}
}

// NetConn returns the client's socket. The hello is not read from it.
func (c *WebConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction.
func (c *WebConn) CloseWrite() error { return netx.CloseWrite(c.Conn) }

// RemoteAddr returns the client's address, which may be from a PROXY protocol header.
func (c *WebConn) RemoteAddr() net.Addr {
	if c.session.source.IsValid() {
		return net.TCPAddrFromAddrPort(c.session.source)
	}
	return c.Conn.RemoteAddr()
}

// Authenticated notes that the client has shown a credential of the site's relay: the
// connection carries streams, and no limit of unauthenticated connections applies. It may
// be called again, and concurrently. It reports whether it is the first call.
func (c *WebConn) Authenticated() bool {
	if !c.carrier.CompareAndSwap(false, true) {
		return false
	}
	s := c.session
	s.leave()
	netx.SetLiveness(c.Conn, s.proxy.settings().liveness)
	return true
}

// Close closes the connection.
func (c *WebConn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		err = c.Conn.Close()
		c.session.endWeb(c)
	})
	return err
}

// endWeb ends the session of a connection that the web site has served.
func (s *session) endWeb(c *WebConn) {
	s.mu.Lock()
	s.tunnel = fronting.Result{Domain: c.host}
	cause := c.err
	if c.carrier.Load() {
		cause = nil // its bytes are those of its streams
	} else {
		s.tunnel.Up, s.tunnel.Down = c.up.Load(), c.down.Load()
	}
	cancel := s.cancel
	s.mu.Unlock()
	s.end(splice.Result{Err: cause}, splice.Result{})
	cancel()
}

// isCarrier reports whether the session is a connection that carries streams of a relay.
// Under mu.
func (s *session) isCarrier() bool {
	return s.unauthenticated != nil && s.web != nil && s.web.carrier.Load()
}

// carries is isCarrier, without mu.
func (s *session) carries() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isCarrier()
}

// webIdle reports whether the session is a connection to the web site, and whether
// nothing is lost when it ends now.
func (s *session) webIdle() (isWeb, idle bool) {
	s.mu.Lock()
	isWeb = s.unauthenticated != nil && s.web != nil
	carrier := s.isCarrier()
	s.mu.Unlock()
	age := time.Since(s.start)
	if carrier {
		return true, age >= drain.IdleTime && s.proxy.counters.webStreams.Load() == 0
	}
	return isWeb, age >= handshakeGrace
}

// serveWeb has the web site serve a client that is not authenticated for that reason, if
// its hello, with which first begins, names the site. Otherwise it returns false.
func (s *session) serveWeb(first []byte, reason error) bool {
	site := s.proxy.settings().Web
	if !site.names(fronting.ServerName(first)) {
		return false
	}
	c := &WebConn{Conn: s.socket, session: s, host: site.Host, hello: first, err: reason}
	s.enterFronted()
	s.mu.Lock()
	s.web = c
	closed := s.closed != nil
	s.mu.Unlock()
	s.stays.Store(true)
	if closed {
		c.Close()
	} else {
		site.Serve(c)
	}
	return true
}

// completeHello reads on while first is a part of a TLS hello that does not tell its
// server name. The handshake rejects such a hello early if it is split into records, as
// some clients do in order to hide the name. It keeps fronting.MaxPartialHello bytes at most, once.
func (s *session) completeHello(ctx context.Context, first []byte) []byte {
	var hello fronting.PartialHello
	if s.proxy.settings().Web == nil || !hello.IsPartial(first) {
		return first
	}
	defer s.socket.SetReadDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { s.socket.SetReadDeadline(time.Unix(1, 0)) })()
	s.socket.SetReadDeadline(time.Now().Add(netx.UnansweredTime()))
	const step = 1 << 10
	for hello.IsPartial(first) {
		if len(first) == cap(first) {
			first = append(make([]byte, 0, min(2*len(first)+step, fronting.MaxPartialHello)), first...)
		}
		n, err := s.socket.Read(first[len(first):cap(first)])
		first = first[:len(first)+n]
		if err != nil {
			break
		}
	}
	return first
}
