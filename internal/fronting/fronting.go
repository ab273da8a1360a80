// Package fronting tunnels unauthenticated clients of an MTProxy to a fronting
// host, the site that the secret's domain names. The client gets the host's own
// bytes with the host's own timing: the package sends none of its own to a client.
//
// It also probes the hosts, because the ServerHello that an authenticated client
// gets should have the size and shape of the host's.
//
//	fronting.go    Config, Pool, connections to hosts
//	hosts.go       the hosts and their replacement
//	tunnel.go      client to host, from the client's first bytes on
//	preconnect.go  the host's connection for a client that has sent nothing yet
//	sni.go         the server name in a client's first bytes
//	probe.go       one measurement of a host
//	flight.go      the host's first flight, as an observer sees it
//	kinds.go       the answers to the kinds of ClientHello, and ServerHello
//	records.go     the records behind the handshake
//	patience.go    how long the host waits for a silent client
//	schedule.go    when hosts are probed
//	selfloop.go    detection of a host that is this proxy itself
//	unanswered.go  the limit for connections that a host has not answered
//	findings.go    what was measured, for another process
package fronting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/internal/resolve"
	"github.com/mtwire/mtwire/internal/splice"
)

const (
	// DefaultDialTimeout bounds one attempt to dial a host.
	DefaultDialTimeout = 5 * time.Second
	// DefaultMaxTunnels is the default for Config.MaxTunnels.
	DefaultMaxTunnels = 4096
	// DefaultMaxPreconnected is the default for Config.MaxPreconnected.
	DefaultMaxPreconnected = 1024
	// DefaultIdleTimeout is longer than most servers keep an idle connection:
	// nginx waits 75 seconds, Caddy 5 minutes, Google's load balancers 610
	// seconds.
	DefaultIdleTimeout = 15 * time.Minute
)

// ErrBusy means that a limit, Config.MaxTunnels or Config.MaxPreconnected, is
// reached.
var ErrBusy = errors.New("too many connections to fronting hosts")

// Config configures a Pool. The zero value is good.
type Config struct {
	// Hosts are the first hosts, as for SetHosts.
	Hosts []Host

	// DialContext opens connections to hosts. Nil means a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Resolver has the addresses of hosts' names for that net.Dialer. Nil means
	// that a name is looked up for each connection.
	Resolver *resolve.Cache

	// DialTimeout bounds each attempt. 0 means DefaultDialTimeout.
	DialTimeout time.Duration

	// MaxTunnels limits the clients that are tunneled at one time; further
	// clients get no answer. 0 means DefaultMaxTunnels.
	MaxTunnels int

	// MaxPreconnected limits the connections that Preconnect made and that are
	// not tunneled yet. 0 means DefaultMaxPreconnected.
	MaxPreconnected int

	// IdleTimeout ends a tunnel in which no byte has moved for that time. It
	// should be longer than the timeout of any host. 0 means
	// DefaultIdleTimeout.
	IdleTimeout time.Duration

	// Log gets warnings about hosts that are unreachable or unsuitable, and the
	// results of measurements. Nil means slog.Default.
	Log *slog.Logger
}

// Pool connects unauthenticated clients to hosts. Its methods may be called
// concurrently.
type Pool struct {
	config      Config       // but for what SetLimits changes
	dialTimeout atomic.Int64 // a time.Duration
	tunnels     semaphore
	preconnects semaphore

	running atomic.Pointer[context.Context] // of Run
	probing sync.WaitGroup                  // probes made for clients, which Run waits for

	setting sync.Mutex // held by SetHosts
	hosts   atomic.Pointer[hostSet]

	poller atomic.Pointer[splice.Poller] // nil until SetPoller
}

// New returns a Pool. It fails as SetHosts does.
func New(config Config) (*Pool, error) {
	if config.DialContext == nil {
		config.DialContext = config.Resolver.Through((&net.Dialer{}).DialContext)
	}
	if config.IdleTimeout <= 0 {
		config.IdleTimeout = DefaultIdleTimeout
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	p := &Pool{config: config}
	p.SetLimits(config.DialTimeout, config.MaxTunnels, config.MaxPreconnected)
	p.hosts.Store(&hostSet{replaced: make(chan struct{})})
	if err := p.SetHosts(config.Hosts); err != nil {
		return nil, err
	}
	return p, nil
}

// SetLimits replaces Config.DialTimeout, MaxTunnels and MaxPreconnected, whose defaults
// apply as well. Tunnels and connections beyond new limits go on; the next ones are
// refused until there is room.
func (p *Pool) SetLimits(dialTimeout time.Duration, maxTunnels, maxPreconnected int) {
	if dialTimeout <= 0 {
		dialTimeout = DefaultDialTimeout
	}
	if maxTunnels <= 0 {
		maxTunnels = DefaultMaxTunnels
	}
	if maxPreconnected <= 0 {
		maxPreconnected = DefaultMaxPreconnected
	}
	p.dialTimeout.Store(int64(dialTimeout))
	p.tunnels.limit.Store(int64(maxTunnels))
	p.preconnects.limit.Store(int64(maxPreconnected))
}

// timeout returns how long one attempt to dial a host may take.
func (p *Pool) timeout() time.Duration { return time.Duration(p.dialTimeout.Load()) }

// Client is what is known of a client's connection. An address that is not known, or
// that of a Unix socket, is the zero AddrPort.
type Client struct {
	Remote netip.AddrPort // the client
	Local  netip.AddrPort // what the client connected to

	// Answered is called when the client has got the host's first bytes. It may be
	// nil, and must not block.
	Answered func()

	// Moved is called, also before Answered, when bytes of the tunnel have reached the
	// host or the client. It may be nil, and must not block.
	Moved func()
}

// SetPoller makes the tunnels and preconnected connections that begin afterwards
// wait in poller while no bytes move, and not in goroutines. poller.Serve must run
// until all of them have ended.
func (p *Pool) SetPoller(poller *splice.Poller) { p.poller.Store(poller) }

// dialForClient is dial with a warning to the operator if it fails.
func (p *Pool) dialForClient(ctx context.Context, h *host, client Client) (net.Conn, error) {
	conn, err := p.dial(ctx, h, client)
	if err != nil && ctx.Err() == nil {
		p.warn(h, err)
	}
	return conn, err
}

// dialForProbe is dial for a probe. The PROXY protocol header is sent with the first
// bytes, so that a proxy which its host leads back to reads both together: see
// selfloop.go.
func (p *Pool) dialForProbe(ctx context.Context, h *host) (net.Conn, error) {
	conn, err := p.connectTo(ctx, h, Client{})
	if err != nil {
		return nil, err
	}
	return &headerConn{Conn: conn, header: h.header(Client{})}, nil
}

// dial connects to h and sends the PROXY protocol header of client, if h is to get
// one. A connection that has no client has the zero Client.
func (p *Pool) dial(ctx context.Context, h *host, client Client) (net.Conn, error) {
	conn, err := p.connectTo(ctx, h, client)
	if err != nil || h.ProxyProtocol == proxyprotocol.None {
		return conn, err
	}
	i := netx.Interrupt(ctx, conn.SetWriteDeadline)
	i.SetDeadline(time.Now().Add(p.timeout()))
	_, err = conn.Write(h.header(client))
	if ended := i.Finish(); ended != nil {
		err = ended
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("PROXY protocol header for fronting host %s: %w", h.Domain, err)
	}
	return conn, nil
}

// connectTo connects to h, and sends nothing.
func (p *Pool) connectTo(ctx context.Context, h *host, client Client) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	conn, err := p.config.DialContext(limited, h.network, h.target)
	if err == nil && sameEndpoint(conn.RemoteAddr(), client.Local) {
		conn.Close()
		return nil, h.unusable(errLoop)
	}
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			return nil, ended
		}
		return nil, fmt.Errorf("fronting host %s: %w", h.Domain, err)
	}
	return conn, nil
}

// header returns the PROXY protocol header of a connection to h, nil if h gets none.
func (h *host) header(client Client) []byte {
	return h.ProxyProtocol.Append(nil, client.Remote, client.Local)
}

// headerConn sends a header in the same write as the first bytes.
type headerConn struct {
	net.Conn
	header []byte // nil once it was sent
}

func (c *headerConn) Write(b []byte) (int, error) {
	if len(c.header) == 0 {
		return c.Conn.Write(b)
	}
	header := c.header
	c.header = nil
	n, err := c.Conn.Write(append(header, b...))
	return max(0, n-len(header)), err
}

// warnInterval is the minimum time between two warnings about one host: a host
// that is down fails every unauthenticated client.
const warnInterval = time.Minute

// warn logs that clients cannot be tunneled to h.
func (p *Pool) warn(h *host, err error) {
	h.warn(p.config.Log, &h.warned, "fronting host unreachable, unauthenticated clients get no answer", "address", h.Address, "error", err)
}

// sameEndpoint reports whether a is the TCP endpoint b.
func sameEndpoint(a net.Addr, b netip.AddrPort) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !b.IsValid() {
		return false
	}
	x := tcp.AddrPort()
	return x.Port() == b.Port() && x.Addr().Unmap().WithZone("") == b.Addr().Unmap().WithZone("")
}

// semaphore limits how many of a thing there are at one time.
type semaphore struct{ used, limit atomic.Int64 }

func (s *semaphore) tryAcquire() bool {
	for {
		used := s.used.Load()
		if used >= s.limit.Load() {
			return false
		}
		if s.used.CompareAndSwap(used, used+1) {
			return true
		}
	}
}

func (s *semaphore) release() { s.used.Add(-1) }
