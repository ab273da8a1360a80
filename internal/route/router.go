// Package route dials data centres: directly, through a SOCKS5 or HTTP proxy, through
// another MTProxy, at their WebSockets, or through a WEB proxy. It makes several attempts side by side (Happy
// Eyeballs), fails over, and backs off from addresses and upstreams that failed.
//
//	router.go         the configuration, and Dial
//	upstream.go       Outbound, and the connection that it returns
//	upstreamurl.go    a configured upstream, as text
//	resolve.go        DC -> addresses
//	health.go         failures and their back-off
//	answers.go        connections that are established and not answered
//	inherit.go        a router that takes the place of another
//	findings.go       what a router knows, for one of another process
//	candidates.go     addresses through upstreams, ordered by health and weight
//	happyeyeballs.go  the attempts of one Dial
//	dial.go           one attempt
//	websocket.go      data centres' WebSockets
//	web.go            WEB proxies
//	probe.go          trying all data centres over all upstreams
package route

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/resolve"
	"github.com/mtwire/mtwire/obfuscation"
)

// DefaultDialTimeout limits one attempt.
const DefaultDialTimeout = 5 * time.Second

// ErrUnknownDC means that the requested data centre is neither configured nor in
// the table, and that there is no default; or that no upstream leads to it.
var ErrUnknownDC = errors.New("no data centre has this number")

// ErrPaddedOnly means that the client's framing has no padding, and that no upstream
// takes it: all are MTProxies for dd and ee clients, as Router.ProbeClassic has found.
var ErrPaddedOnly = errors.New("no upstream takes classic clients: they need a dd or ee secret, or an upstream's secret without prefix")

// Config configures a Router. The zero value dials the data centres of the public
// table directly. It must not change while it is in use.
type Config struct {
	// DataCenters has addresses of data centres, host:port, by signed number, the
	// first to try first. Number 0 stands for all numbers that are not named. A
	// media number that is found neither way has the addresses of the main one.
	// Numbers without a configured address are looked up in the public table. A
	// host name is resolved by the end that connects to it, which may be a SOCKS5
	// or HTTP proxy.
	DataCenters map[datacenter.DC][]string

	// Upstreams share the connections by weight, as long as they work. None means
	// direct. An MTProxy resolves data centres itself: for it, DataCenters only
	// determines which numbers are known. WebSockets have host names of their own.
	Upstreams []UpstreamURL

	// Family selects and orders the addresses of the table. Addresses in
	// DataCenters are used as they are.
	Family datacenter.Family

	// Default is the data centre for clients that request one that is neither in
	// DataCenters nor in the table. 0 refuses them.
	Default datacenter.DC

	// DisableFastMode gives each upstream a download key stream of its own. In
	// fast mode, the default, the data centre encrypts with the client's download
	// key stream, and the download needs no cipher in the proxy. Without it the
	// two ciphertexts are unrelated, so that an observer of both sides cannot
	// match them, and every byte of the download is decrypted and encrypted.
	DisableFastMode bool

	// DialTimeout limits each attempt, including the handshakes of proxies. 0
	// means DefaultDialTimeout.
	DialTimeout time.Duration

	// DialContext opens TCP connections, to data centres and upstreams. It must
	// return soon after its context has ended. Nil means a net.Dialer with
	// infrequent keep-alive probes.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Connect opens connections to IP addresses in place of that net.Dialer, unless its
	// error is errors.ErrUnsupported. It leaves keep-alive off. Nil means that there is
	// none.
	Connect func(ctx context.Context, address netip.AddrPort) (net.Conn, error)

	// Resolver has the addresses of host names for that net.Dialer. Nil means that
	// a name is looked up for each connection.
	Resolver *resolve.Cache

	// TLS is for HTTPS proxies, and has the roots for WebSockets and WEB proxies. Nil
	// means the system's roots.
	TLS *tls.Config

	// Attempted is called at the end of each attempt that was not given up: because
	// another one was faster, or because its context has ended. It must not block. Nil
	// means that nothing is called.
	Attempted func(Attempt)

	// Time is the clock of back-offs and of the ClientHello for an MTProxy with an
	// ee secret. Nil means time.Now.
	Time func() time.Time

	// Rand is the source of init payloads and of ClientHellos. It is used
	// concurrently. Nil means the system's.
	Rand io.Reader
}

// Router is the Outbound that package route provides. Its methods may be called
// concurrently.
type Router struct {
	config Config
	spare  time.Duration // of a test on a slow machine: added to the delay after each attempt

	mu        *sync.Mutex      // shared by routers that take one another's place: see Inherit
	upstreams []*upstreamState // the slice never changes; mu protects its elements
}

// New checks config and returns a router. It does no I/O.
func New(config Config) (*Router, error) {
	config.DataCenters = maps.Clone(config.DataCenters)
	for dc, addresses := range config.DataCenters {
		if len(addresses) == 0 {
			return nil, fmt.Errorf("route: data centre %d has no address", dc)
		}
		for _, address := range addresses {
			if _, _, err := netx.SplitHostPort(address); err != nil {
				return nil, fmt.Errorf("route: data centre %d: address %q: %w", dc, address, err)
			}
		}
		config.DataCenters[dc] = slices.Clone(addresses)
	}
	if config.Family > datacenter.OnlyIPv6 {
		return nil, fmt.Errorf("route: no such address family: %d", config.Family)
	}
	if config.DialTimeout == 0 {
		config.DialTimeout = DefaultDialTimeout
	}
	if config.DialContext == nil {
		config.DialContext = config.Resolver.Through(dialer(config.Connect))
	}
	if config.Time == nil {
		config.Time = time.Now
	}
	r := &Router{config: config, mu: &sync.Mutex{}}
	if _, known := r.addresses(config.Default); config.Default != 0 && !known {
		return nil, fmt.Errorf("route: default data centre %d: %w", config.Default, ErrUnknownDC)
	}
	upstreams := config.Upstreams
	if len(upstreams) == 0 {
		upstreams = []UpstreamURL{{}}
	}
	for _, u := range upstreams {
		state := &upstreamHealth{addressHealth: make(map[string]*health), answers: make(answers), streams: r.newStreams(u)}
		r.upstreams = append(r.upstreams, &upstreamState{UpstreamURL: u, upstreamHealth: state})
	}
	return r, nil
}

// Dial connects to request.DC, for a client that uses request.Protocol and expects its
// download in the key stream request.Download. The result is a Stream.
//
// It makes at most four attempts. The next one starts when one fails, or after an
// attempt delay of 300 ms, or of one second if the previous attempt goes through
// an upstream. The first attempt to connect wins. Addresses and upstreams that
// failed recently are tried last, unless the cause was a shortage of this machine's
// resources. The caller reports the outcome: see Upstream.Answered, Unanswered and
// Next.
//
// Fast mode needs request.Download and an upstream that is no MTProxy. Otherwise, and
// with Config.DisableFastMode, the upstream has a key stream of its own: see
// Stream.Receive.
//
// The error is ErrUnknownDC, ErrPaddedOnly, obfuscation.ErrFull for a framing without a tag,
// ctx's cause if ctx ended, or the errors of all attempts. It contains addresses
// of data centres and upstreams, and no credentials. When Dial returns, all its
// goroutines and connections have ended, except for the returned connection.
func (r *Router) Dial(ctx context.Context, request Request) (*Upstream, error) {
	upstream, err := r.dial(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.DC.Describe(), err)
	}
	return upstream, nil
}

func (r *Router) dial(ctx context.Context, request Request) (*Upstream, error) {
	if request.Protocol == frame.Full {
		return nil, obfuscation.ErrFull // before any address is dialled
	}
	location, err := r.resolve(request.DC)
	if err != nil {
		return nil, err
	}
	o := r.order(location, request.service(location.dc))
	if len(o.upstreams) == 0 {
		if slices.ContainsFunc(r.upstreams, func(u *upstreamState) bool { return u.leadsTo(location.dc) }) {
			return nil, ErrPaddedOnly
		}
		return nil, ErrUnknownDC
	}
	return r.dialOrdered(ctx, o, location.dc, request)
}

// dialOrdered dials the candidates of o, and sends dc in the init payload.
func (r *Router) dialOrdered(ctx context.Context, o *ordering, dc datacenter.DC, request Request) (*Upstream, error) {
	winner, err := r.happyEyeballs(ctx, o)
	if err != nil {
		return nil, err
	}
	upstream, err := r.newUpstream(winner, dc, request)
	if err != nil {
		winner.conn.Close()
		return nil, err
	}
	upstream.dialled = &dialled{ordering: o, candidate: winner.candidate, dc: dc, request: request}
	return upstream, nil
}
