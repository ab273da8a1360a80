package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// DefaultAnswerTimeout is the AnswerTimeout of a Config that has none.
const DefaultAnswerTimeout = 10 * time.Second

// Config configures New.
type Config struct {
	// To are the servers, the preferred one first. If one cannot be reached, ends a
	// connection before it has answered, or does not answer, the next one gets the
	// packets so far. One that has failed is tried last for a while.
	//
	// An endpoint is asked for the data centre that the client asks for, or for its own
	// DC if the client names none. One without an address and a secret is that data
	// centre: see mtwire.DialDC.
	To []mtwire.Endpoint

	// Weights are the shares of the clients that the servers in To get, in their order,
	// each 1 to MaxWeight. Nil means that all go to the preferred one.
	Weights []int

	// Dial configures the connections to them. Nil means the zero DialConfig.
	Dial *mtwire.DialConfig

	// AnswerTimeout is how long a server may take for its first packet, if there is
	// another one. 0 means DefaultAnswerTimeout, a negative value no limit.
	AnswerTimeout time.Duration

	// MaxUnauthenticated limits the clients that have shown no secret: all of them, if
	// the Listener has no secrets. 0 means a quarter of the descriptors that the process
	// may have, at most 16,384. A client has one, and another one, or up to eight over
	// HTTP, for its server. One network (IPv4 /24, IPv6 /48) may have three quarters of
	// the limit. At a limit a newcomer is served, and one of the network that has most
	// makes room: first one that has sent nothing for two seconds, last one whose server
	// has answered and whose packets move. Beside them, a quarter of the limit may wait
	// for the header of a load balancer: see TrustedProxies.
	MaxUnauthenticated int
	// MaxUnauthenticatedPerAddress is the limit of one address (IPv6 /64). 0 means half
	// of MaxUnauthenticated.
	MaxUnauthenticatedPerAddress int

	// MaxMemory limits the packets of all clients that were received and that the other
	// side has not taken yet, in bytes; up to 64 KiB of a client do not count. At the
	// limit the network that holds most makes room. 0 means 128 MiB. Packets of servers
	// that have arrived in part, and answers over HTTP that wait for those before, have as
	// much of their own, unless Dial has a PacketMemory, and those of clients that of their
	// ListenConfig.
	MaxMemory int64

	// TrustedProxies are the networks of load balancers. A connection from one of
	// them must begin with a PROXY protocol header, version 1 or 2. One load balancer
	// may have half of the connections that wait for theirs. Headers of other peers
	// are not read. See Listener, without which they have no effect.
	TrustedProxies []netip.Prefix
	// TrustUnixSockets has the same effect for all connections to Unix sockets.
	TrustUnixSockets bool

	// Log gets a record for each connection that has ended, also of a client that has
	// none of the secrets, and for each server that fails or recovers. It has no secrets. Nil means no log.
	Log *slog.Logger
}

// MaxWeight is the largest of Weights.
const MaxWeight = 1000

// Relay passes packets between clients and servers. All methods may be called
// concurrently.
type Relay struct {
	config    Config
	endpoints endpoints
	pending   *admission.Table // of those that are unauthenticated
	headers   *admission.Table // of those whose PROXY protocol header is awaited
	memory    *admission.Memory
	trust     proxyprotocol.Trust

	own      ownAddresses
	dialHTTP *mtwire.DialConfig // config.Dial for servers over HTTP

	failedLines, rejectedLines                       lineLimit
	evictionWarnings, headerWarnings, acceptWarnings warnings

	open, served, failed, evicted atomic.Int64

	shortage admission.Shortage
}

// New returns a Relay. It fails if there is no endpoint, if one cannot be dialled, as by
// mtwire's Endpoint.Check, or if a weight or a limit is out of its range.
func New(config Config) (*Relay, error) {
	switch {
	case len(config.To) == 0:
		return nil, errors.New("relay: no endpoint to connect to")
	case config.MaxUnauthenticated < 0 || config.MaxUnauthenticatedPerAddress < 0 || config.MaxMemory < 0:
		return nil, errors.New("relay: a limit is negative")
	}
	config.defaultLimits()
	dial := mtwire.DialConfig{}
	if config.Dial != nil {
		dial = *config.Dial
	}
	if config.Dial = &dial; dial.PacketMemory == nil {
		dial.PacketMemory = mtwire.NewPacketMemory(config.MaxMemory)
	}
	dial.DialContext = withLiveness(dial.DialContext)
	if config.AnswerTimeout == 0 {
		config.AnswerTimeout = DefaultAnswerTimeout
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	trust, err := newTrust(&config)
	if err != nil {
		return nil, err
	}
	r := &Relay{config: config, endpoints: endpoints{log: config.Log}, trust: trust,
		pending: admission.New(config.limits(), admissionGrace),
		headers: admission.New(config.headerLimits(), admissionGrace), memory: admission.NewMemory(config.MaxMemory)}
	r.shortage.Tables = []*admission.Table{r.pending, r.headers}
	forHTTP := *config.Dial
	forHTTP.DialContext = r.noting(forHTTP.DialContext)
	r.dialHTTP = &forHTTP
	if err := r.SetServers(config.To, config.Weights); err != nil {
		return nil, err
	}
	return r, nil
}

// SetServers replaces Config.To and Config.Weights, for clients that are not connected to a server
// yet. What is known of a server that stays is kept, and the sessions of one that is gone go on.
// After an error nothing has changed.
func (r *Relay) SetServers(to []mtwire.Endpoint, weights []int) error {
	if len(to) == 0 {
		return errors.New("relay: no endpoint to connect to")
	}
	if n := len(weights); n != 0 && n != len(to) {
		return fmt.Errorf("relay: %d weights for %d endpoints", n, len(to))
	}
	for i, ep := range to {
		if err := ep.Check(); err != nil {
			return fmt.Errorf("relay: endpoint %d: %w", i+1, err)
		}
		if len(weights) > 0 && (weights[i] < 1 || weights[i] > MaxWeight) {
			return fmt.Errorf("relay: a weight of %d: want 1 to %d", weights[i], MaxWeight)
		}
	}
	r.endpoints.replace(to, weights)
	return nil
}

// trial is how long one client alone tries a server that has failed.
func (r *Relay) trial() time.Duration {
	if r.config.AnswerTimeout > 0 {
		return r.config.AnswerTimeout
	}
	return DefaultAnswerTimeout
}

// Stats counts connections.
type Stats struct {
	// Open are the clients that a server is connected for, or being dialled.
	Open int64
	// Served are those that have ended after an answer, Failed those without.
	Served, Failed int64
	// Unauthenticated are the open connections that have shown no secret.
	Unauthenticated int
	// Evicted are those of them that have made room for others.
	Evicted int64
}

// Stats returns the counts of now.
func (r *Relay) Stats() Stats {
	return Stats{r.open.Load(), r.served.Load(), r.failed.Load(), r.pending.Len(), r.evicted.Load()}
}

// Handle passes packets between a client and a server until either ends its connection,
// or serving ends. It is a handler for mtwire's Listener.Serve, and closes conn. It waits for
// the client's first packet before it dials, because clients open connections in advance.
//
// Over HTTP a server answers only: a client of another transport gets what the server has
// of its own accord when it sends something.
func (r *Relay) Handle(serving context.Context, conn *mtwire.Conn) {
	ctx, cancel := context.WithCancelCause(serving)
	defer cancel(nil)
	s := &session{relay: r, client: conn, start: time.Now(), cancel: cancel}
	address := addressOf(conn.RemoteAddr())
	r.pending.Enter(&s.member, s, address, admission.Silent)
	defer r.pending.Leave(&s.member)
	defer conn.Close() // a WebSocket waits for its client
	first, err := s.first(ctx)
	if err != nil || s.isOwn() {
		s.logRejected(err)
		return
	}
	s.init(address)
	r.open.Add(1)
	defer r.open.Add(-1)
	err = s.run(ctx, first)
	if serving.Err() != nil {
		err = fmt.Errorf("%w: %w", mtwire.ErrShutdown, err)
	}
	if s.answered {
		r.served.Add(1)
	} else {
		r.failed.Add(1)
	}
	s.log(err)
}

// first returns the client's first packet.
func (s *session) first(ctx context.Context) (mtwire.Packet, error) {
	pending := s.relay.pending
	if err := s.client.Handshake(ctx); err != nil {
		return mtwire.Packet{}, err
	}
	if s.transport = s.client.Transport(); s.transport.Secret >= 0 {
		pending.Leave(&s.member)
	}
	pending.Move(&s.member, admission.Partial)
	packet, err := s.client.Receive(ctx)
	pending.Move(&s.member, admission.Complete)
	return packet, err
}
