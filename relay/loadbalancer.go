package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// headerTimeout bounds how long a load balancer may take to send its PROXY protocol header.
const headerTimeout = 10 * time.Second

// Listener returns a net.Listener for mtwire.NewListener that accepts from ln and reads
// the PROXY protocol headers of Config.TrustedProxies and TrustUnixSockets: the
// RemoteAddr of such a connection is the client's address, and its LocalAddr the one that
// the client has connected to. Accept reads nothing. The
// first call of these or of Read reads the header, for up to ten seconds, and Read
// returns its error; Handle does that before anything else. On Linux a client that
// acknowledges nothing for two minutes is given up. If there is no descriptor for a
// connection, clients without a secret make room.
func (r *Relay) Listener(ln net.Listener) net.Listener {
	return &balancedListener{Listener: ln, relay: r}
}

// newTrust returns the peers that a Config trusts.
func newTrust(config *Config) (trust proxyprotocol.Trust, err error) {
	trust.Unix = config.TrustUnixSockets
	for _, network := range config.TrustedProxies {
		if err := trust.AddNetwork(network); err != nil {
			return trust, fmt.Errorf("relay: trusted proxies: %w", err)
		}
	}
	return trust, nil
}

// balancedListener is a Listener's.
type balancedListener struct {
	net.Listener
	relay *Relay

	mu   sync.Mutex
	last time.Time // that clients made room
	vain int       // how often they have, since a connection was accepted
}

// While no connection can be accepted, clients make room again after roomInterval, since what they
// leave is closed by then, and maxVain times: if that does not help, others have the descriptors.
const (
	roomInterval = 2 * time.Second
	maxVain      = 3
)

// makeRoom has clients make room if a connection was not accepted for want of a descriptor. The caller
// of Accept tries again after a pause.
func (l *balancedListener) makeRoom(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.vain < maxVain && (l.last.IsZero() || now.Sub(l.last) >= roomInterval) && l.relay.shortage.MakeRoom(err) {
		l.last = now
		l.vain++
	}
}

// accepted notes that there are descriptors.
func (l *balancedListener) accepted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vain = 0
}

func (l *balancedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		l.makeRoom(err)
		l.relay.warnNotAccepted(l.Addr(), err)
		return nil, err
	}
	l.accepted()
	_ = netx.SetLiveness(conn, netx.Liveness{UserTimeout: peerTimeout})
	if !l.relay.trust.Contains(conn.RemoteAddr()) {
		return conn, nil
	}
	return &balancedConn{Conn: conn, relay: l.relay}, nil
}

// balancedConn is a connection of a peer that is trusted to send a PROXY protocol header.
type balancedConn struct {
	net.Conn
	relay *Relay

	header        sync.Once
	remote, local net.Addr
	err           error
}

// readHeader reads the header once.
func (c *balancedConn) readHeader() {
	c.header.Do(func() {
		c.remote, c.local = c.Conn.RemoteAddr(), c.Conn.LocalAddr()
		balancer := addressOf(c.remote)
		if !balancer.IsValid() { // all that connect to Unix sockets share one limit
			balancer = admission.NoAddress
		}
		var member admission.Member
		c.relay.headers.Enter(&member, c, balancer, admission.Silent)
		defer c.relay.headers.Leave(&member)
		c.Conn.SetReadDeadline(time.Now().Add(headerTimeout))
		source, destination, err := proxyprotocol.ReadAddresses(c.Conn)
		if err != nil {
			c.err = err
			c.relay.logHeader(c.remote, err)
			return
		}
		c.Conn.SetReadDeadline(time.Time{})
		if source.IsValid() {
			c.remote = net.TCPAddrFromAddrPort(source)
		}
		if destination.IsValid() {
			c.local = net.TCPAddrFromAddrPort(destination)
		}
	})
}

// Evict ends the connection, whose header is awaited, and which makes room for another one.
func (c *balancedConn) Evict(reason *admission.EvictedError) {
	c.Conn.Close()
	c.relay.noteEviction(fmt.Errorf("waiting for a PROXY protocol header: %w", reason))
}

// HasUnread returns false: what has arrived is read at once.
func (c *balancedConn) HasUnread() bool { return false }

// RemoteAddr returns the client's address, or the peer's if the header has none.
func (c *balancedConn) RemoteAddr() net.Addr {
	c.readHeader()
	return c.remote
}

// LocalAddr returns the address that the client has connected to, or the connection's own if
// the header has none.
func (c *balancedConn) LocalAddr() net.Addr {
	c.readHeader()
	return c.local
}

func (c *balancedConn) Read(p []byte) (int, error) {
	if c.readHeader(); c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// NetConn returns the connection below.
func (c *balancedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction, if the connection below can.
func (c *balancedConn) CloseWrite() error { return netx.CloseWrite(c.Conn) }

// logHeader writes a record for a header that fails, once a minute. A connection without
// a byte is a load balancer's health check.
func (r *Relay) logHeader(peer net.Addr, err error) {
	if err == io.EOF || errors.Is(err, net.ErrClosed) || netx.IsErrno(err, netx.ECONNRESET) {
		return
	}
	if r.headerWarnings.due() {
		r.config.Log.Warn("a load balancer's connection has no good PROXY protocol header", "peer", peer.String(), "err", err)
	}
}
