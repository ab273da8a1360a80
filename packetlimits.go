package mtwire

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
)

// The errors of Receive for a packet that has arrived in part and will not be waited
// for any longer. Both are final: the connection should be closed. Test for them with
// errors.Is.
var (
	// ErrPacketTimeout means that the peer has begun a packet and sends the rest
	// too slowly: see ListenConfig.PacketTimeout.
	ErrPacketTimeout = errors.New("the rest of a packet did not arrive in time")
	// ErrPacketMemory means that the incomplete packet made room for those of
	// other clients: see ListenConfig.PacketMemory.
	ErrPacketMemory = errors.New("the memory for incomplete packets is used up")
)

// The defaults of a ListenConfig.
const (
	defaultPacketTimeout = 30 * time.Second
	defaultPacketRate    = 16 << 10
	defaultPacketMemory  = 128 << 20
)

// freePacket is the size up to which the buffer of an incomplete packet is not
// charged to a PacketMemory, in bytes. A read borrows as much.
const freePacket = 64 << 10

// PacketMemory bounds the memory for incomplete packets of many connections. One may
// be shared by several ListenConfigs. All methods may be called concurrently.
//
// The buffer of a packet that has arrived in part counts with its size, which is up
// to twice what has arrived, if it is larger than 64 KiB. At the limit the network
// that holds most makes room: of the sites (IPv4 /24, IPv6 /48) the one with most
// memory, of its addresses (IPv6 /64) the one with most, and of those packets the
// oldest one. Its Receive returns ErrPacketMemory. Clients without an IP address are
// one network.
//
// A packet that Receive has returned does not count.
//
// The zero value has a limit of 128 MiB. A PacketMemory must not be copied after its first
// use.
type PacketMemory struct {
	once   sync.Once
	memory *admission.Memory // see get
}

// get returns m's memory, which the zero value has from the first call on.
func (m *PacketMemory) get() *admission.Memory {
	m.once.Do(func() {
		if m.memory == nil {
			m.memory = admission.NewMemory(defaultPacketMemory)
		}
	})
	return m.memory
}

// NewPacketMemory returns a PacketMemory for limit bytes, which should be several
// times MaxLength: a longer packet than limit cannot be received.
func NewPacketMemory(limit int64) *PacketMemory {
	return &PacketMemory{memory: admission.NewMemory(limit)}
}

// Used returns the size of all buffers that count, in bytes.
func (m *PacketMemory) Used() int64 { return m.get().Used() }

// packetLimits are the limits for the rest of a packet.
type packetLimits struct {
	timeout time.Duration // 0: none
	rate    int           // bytes a second that extend timeout, 0: none
	memory  *PacketMemory // nil: no limit
}

// allowed returns the time for which Receive waits for a packet of which so many
// bytes have arrived.
func (l *packetLimits) allowed(bytes int) time.Duration {
	if l.rate <= 0 {
		return l.timeout
	}
	return l.timeout + time.Duration(float64(bytes)/float64(l.rate)*float64(time.Second))
}

// incomplete is the state of a packet that has arrived in part.
type incomplete struct {
	limits  *packetLimits
	waited  time.Duration // by Receive, for its rest
	charged int           // size of the buffer, 0 if it is free

	holding atomic.Pointer[admission.Holding] // nil until a buffer is charged
	evicted atomic.Bool
	closed  atomic.Bool
}

// resize charges a buffer of size bytes to the memory. from is the peer's address,
// and evict is called if the buffer makes room for others.
func (p *incomplete) resize(size int, from net.Addr, evict func()) error {
	if size <= freePacket {
		size = 0
	}
	if p.limits.memory == nil || size == p.charged {
		return nil
	}
	holding := p.holding.Load()
	if holding == nil {
		holding = p.limits.memory.get().NewHolding(ipOf(from), evict)
		p.holding.Store(holding)
		if p.closed.Load() {
			holding.Close()
		}
	}
	p.charged = size
	if !holding.Resize(size) && size > 0 {
		return ErrPacketMemory
	}
	return nil
}

// close gives back what is charged. It may be called concurrently with resize.
func (p *incomplete) close() {
	p.closed.Store(true)
	if holding := p.holding.Load(); holding != nil {
		holding.Close()
	}
}

// ipOf returns the IP address of a peer, or an invalid one.
func ipOf(address net.Addr) netip.Addr {
	switch a := address.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		return a.AddrPort().Addr()
	}
	ip, _ := netip.ParseAddrPort(address.String())
	return ip.Addr()
}

// fillRest reads more of a packet that has begun, within its limits.
func (s *stream) fillRest(ctx context.Context) error {
	in := &s.in
	if in.source.Grow == nil {
		in.source.Grow = s.resize
	}
	in.source.Trim()
	if err := s.resize(in.source.Size()); err != nil {
		return err
	}
	limits := in.rest.limits
	allowed := limits.allowed(len(in.source.Bytes()))
	start := time.Now()
	if limits.timeout > 0 {
		in.deadline.SetLimit(start.Add(allowed - in.rest.waited))
	}
	if in.rest.evicted.Load() { // evict may have set its deadline before
		return ErrPacketMemory
	}
	err := in.source.Fill()
	if limits.timeout > 0 {
		in.rest.waited += time.Since(start)
		in.deadline.SetLimit(time.Time{})
	}
	switch {
	case !netx.IsTimeout(err):
	case in.rest.evicted.Load():
		return ErrPacketMemory
	case limits.timeout > 0 && (in.rest.waited >= allowed || ctx.Err() == nil):
		return ErrPacketTimeout
	}
	return err
}

// resize charges a buffer of size bytes.
func (s *stream) resize(size int) error {
	return s.in.rest.resize(size, s.conn.RemoteAddr(), s.evict)
}

// packetComplete ends the limits for a packet.
func (s *stream) packetComplete() {
	s.in.rest.waited = 0
	_ = s.resize(0) // cannot fail
}

// evict makes the connection give back the buffer of its incomplete packet.
func (s *stream) evict() {
	s.in.rest.evicted.Store(true)
	s.in.deadline.SetLimit(time.Unix(1, 0))
	if s.in.mu.TryLock() { // no Receive is running, which would do it
		if s.in.err == nil {
			s.endReceiving(ErrPacketMemory)
		}
		s.in.mu.Unlock()
	}
}

// limitHTTP sets the limits of an HTTP connection's requests in config.
func (c *Conn) limitHTTP(config *httpconn.ServerConfig, conn net.Conn) {
	limits := &c.settings.limits
	if config.RequestTimeout == 0 {
		config.RequestTimeout, config.RequestRate = limits.timeout, limits.rate
		if limits.timeout == 0 {
			config.RequestTimeout = math.MaxInt64
		}
	}
	if limits.memory == nil {
		return
	}
	c.request = &incomplete{limits: limits}
	evict := func() {
		c.request.evicted.Store(true)
		conn.Close()
	}
	config.Reserve = func(size int) error { return c.request.resize(size, conn.RemoteAddr(), evict) }
}

// requestError returns Receive's error for an HTTP connection's.
func (c *Conn) requestError(err error) error {
	var refused *httpconn.RequestError
	switch {
	case err == nil:
		return nil
	case c.request != nil && c.request.evicted.Load():
		return receiveError(ErrPacketMemory)
	case errors.As(err, &refused) && refused.Status == http.StatusRequestTimeout:
		return fmt.Errorf("receive: %w: %w", ErrPacketTimeout, err)
	}
	return err
}
