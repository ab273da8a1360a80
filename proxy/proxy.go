// Package proxy is an MTProxy server: it authenticates clients by their secret,
// classic, dd or ee, and relays their bytes to the data centre they ask for.
// Unauthenticated clients are tunneled to a fronting host, or get no answer.
//
//	proxy.go         configuration
//	change.go        another one while the proxy runs; settings.go: the one in force
//	users.go         users, and their replacement
//	serve.go         listeners and the sessions they bring; shutdown.go
//	session.go       one client's connection
//	stage.go         how far it has come
//	auth.go          which client it is
//	replay.go        handshakes that were seen before
//	limits.go        unauthenticated connections, and eviction
//	mirror.go        clients that are undecided, at their fronting host
//	silent.go        clients that have sent nothing, without a goroutine
//	memory.go        when memory is released after crowds
//	fronting.go      where unauthenticated clients go
//	web.go           a web site in this process; webstream.go: streams of its relay
//	upstream.go      what data centres are reached through; probe.go tries it
//	loops.go         upstreams that lead back to the proxy
//	failover.go      clients moved on to the next address or upstream
//	suspend.go       sessions that another process is to go on with
//	adopt.go         those of another process; sessionstate.go: what there is of them
//	transcode.go     re-encryption of what is relayed
//	records.go       records of the download; firstpackets.go: errors in it
//	liveness.go      clients that are gone; stalltimer.go: data centres that are silent
//	policy.go        limits for users: an interface
//	dcstate.go       data centres that fail, and recover
//	trace.go         hooks; log.go is one set of them; linelimit.go
//	report.go        what a session is and was; outcome.go: how it ended, in a word
//	stats.go         sums of sessions, by user as well
package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/resolve"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/internal/workers"
	"github.com/mtwire/mtwire/mtproxy"
)

// DefaultStallTimeout is the default for Config.StallTimeout.
const DefaultStallTimeout = 15 * time.Second

// Config is what an operator can choose. Users are required; the zero value of
// every other field is good. A negative limit is an error where the field does not tell
// what it means. Prepare replaces most of it while the proxy runs.
type Config struct {
	// Users are the first users: see SetUsers.
	Users []User
	// Modes are the modes that are accepted at all. 0 means mtproxy.AllModes.
	Modes mtproxy.Modes
	// ClockWindow limits the difference of a FakeTLS client's clock from ours. 0
	// means 120 seconds, a negative value no limit.
	ClockWindow time.Duration

	// TrustedProxies are the networks of load balancers. A connection from one of
	// them must begin with a PROXY protocol header, version 1 or 2. Headers of
	// other peers are not read.
	TrustedProxies []netip.Prefix
	// TrustUnixSockets has the same effect for all connections to Unix sockets.
	TrustUnixSockets bool

	// Replay remembers handshakes, so that a recorded one is not answered. Nil
	// means a memory of two days and two million handshakes, which takes up to 32
	// MiB and is lost with the proxy.
	Replay ReplayCache

	// Fronts are the fronting hosts by the domain of a FakeTLS secret; "" stands
	// for all others. The default is the domain itself, port 443. Unauthenticated
	// clients are tunneled there. Without a FakeTLS secret, and without Fronts,
	// they get no answer.
	Fronts map[string]Front
	// Domain is the site of FakeTLS clients whose secrets have no domain. It has a
	// fronting host, as the domain of a secret has.
	Domain string

	// Web is a web site in this process, for clients that are not authenticated and whose
	// TLS hello names it. Nil means none. Streams of its relay enter the proxy through
	// Serve: see WebStream.
	Web *WebSite

	// DataCenters are the addresses of data centres, host:port, by signed number;
	// number 0 stands for all others. Several are tried in order. Data centres
	// that are not here are looked up in the public table.
	DataCenters map[datacenter.DC][]string
	// DefaultDC is for clients that ask for an unknown data centre. 0 means that
	// they are refused.
	DefaultDC datacenter.DC
	// Family is the address family of the table's addresses that are used.
	Family datacenter.Family
	// Upstreams are what data centres are reached through: see ParseUpstream. Each
	// takes connections by its weight. None means direct.
	Upstreams []Upstream
	// DisableFastMode gives the upstream side a download key stream of its own
	// instead of the client's, so that every byte of the download is decrypted
	// and encrypted.
	DisableFastMode bool
	// DialTimeout bounds each attempt. 0 means five seconds.
	DialTimeout time.Duration
	// DialContext opens connections to data centres, upstreams and fronting
	// hosts. Nil means a net.Dialer with a DNS cache: one lookup of a host serves
	// all connections of a minute, and while the resolver fails, the last
	// addresses stay in use.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// StallTimeout is how long the data centre may answer nothing after bytes
	// were sent to it before that is counted and traced. 0 means
	// DefaultStallTimeout, a negative value never.
	StallTimeout time.Duration

	// KeepAlive is how long an authenticated client may be silent before it is sent
	// keep-alive probes. 0 means DefaultKeepAlive, a negative value that there are
	// none. PeerTimeout is how long a client or a data centre may acknowledge
	// nothing, or take nothing, while there are bytes for it, before the session
	// ends. 0 means DefaultPeerTimeout, a negative value no limit.
	KeepAlive, PeerTimeout time.Duration

	// MaxUnauthenticated limits the connections that are not authenticated, and
	// MaxFronted those of them that are connected to a fronting host. One site
	// (IPv4 /24, IPv6 /48) may have three quarters of each, one address (IPv6 /64)
	// half. At a limit, the connection that has been unanswered for longest makes
	// room. 0 means 16,384 and 4,096, or a quarter and an eighth of the
	// descriptors that the process may have, if that is less. Beside them, a quarter of
	// MaxUnauthenticated may wait for the header of a load balancer, half of these for
	// one balancer's, or those of all at Unix sockets.
	MaxUnauthenticated, MaxFronted int
	// MaxUnauthenticatedPerAddress is the limit of one address (IPv6 /64) of
	// MaxUnauthenticated. 0 means half.
	MaxUnauthenticatedPerAddress int

	// SearchProcessors limits the processor time of failed key searches among many
	// secrets, in processors. 0 means half of one, or an eighth of all if that is
	// more. Those of clients that Policy refuses may take as much again.
	SearchProcessors float64

	// ReleaseMemory is called some time after at least a hundred connections, and half
	// of the open ones, have come or gone, preferably once no more do: the memory of
	// their handshakes is garbage by then. It has a goroutine of its own, and takes at
	// most a hundredth of the time until it is called again. A server passes
	// debug.FreeOSMemory, for instance. Nil leaves memory to the garbage collector.
	ReleaseMemory func()

	// Permit returns an error for an address from which no client is authenticated,
	// whatever it sends: such clients are tunneled to their fronting host. The error is
	// the cause in their reports. An address that is not known is the zero Addr, and an IPv4
	// address is one, also on a socket of both families. Permit is called concurrently, and
	// must not block. Nil permits all.
	//
	// Such a client's secret is not searched for, so its handshake is not remembered
	// by Replay: at no cost it could fill that. Its recording is answered if it is sent
	// from an address that is permitted.
	Permit func(address netip.Addr) error

	// Policy limits users. Nil admits all of them, without limits.
	Policy Policy

	// Traces are hooks, besides those of the log. Nil ones are skipped.
	Traces []*Trace

	// Log gets one line for each connection, at its end, and warnings. Connections
	// that end before the first byte from a data centre have a limited number of
	// lines for each cause, and those without a byte from the client have level Debug. Nil means
	// slog.Default. Its handler must not block: a session ends, and Shutdown
	// returns, when the session's line is handled.
	Log *slog.Logger
	// DisableConnectionLog leaves the lines of connections out.
	DisableConnectionLog bool
	// LogClients puts the clients' addresses into these lines.
	LogClients bool
}

// Proxy is an MTProxy server. Its methods may be called concurrently.
type Proxy struct {
	config      Config             // but for what settings have
	descriptors int                // that the process may have
	pending     *admission.Table   // unauthenticated connections
	headers     *admission.Table   // connections whose PROXY protocol header is awaited
	shortage    admission.Shortage // of which both make room
	fronted     *admission.Table   // those with a connection to a fronting host
	search      *keysearch.Search
	resolver    *resolve.Cache // of host names, unless Config.DialContext is set
	outbound    route.Outbound // of a test; nil: the router of the settings
	fronts      *fronting.Pool
	framings    framings // of their records
	trace       traces
	log         *sessionLog
	dataCenters *dataCenters
	counters    counters
	loops       *loops       // see settings.loops
	kept        atomic.Int64 // bytes that are kept until first answers; see failover.go
	memory      memoryRelease
	workers     *workers.Pool // of sessions until they are connected, and of their ends
	lastID      atomic.Uint64

	changing sync.Mutex // held by SetUsers and Change.Apply
	users    atomic.Pointer[snapshot]

	// accepting ends when Serve is to return, running when what sessions share is
	// to end.
	accepting, running context.Context
	stopServing        context.CancelCauseFunc
	stop               context.CancelFunc
	background         sync.WaitGroup // poller and fronting hosts
	serving            sync.WaitGroup // calls of Serve
	ending             sync.WaitGroup // sessions

	mu        sync.Mutex
	sealed    bool                    // there are no new sessions
	relaying  splice.Config           // with a poller once Serve was called; its other fields: see relay
	accepters []*netx.WatchedListener // that are served
	sessions  map[*session]struct{}
	ended     usages // of sessions that have ended

	// relay is a copy of relaying, with the WriteTimeout of the settings: the pairs that
	// have an older one keep it.
	relay atomic.Pointer[splice.Config]
}

// New returns a proxy. It fails if no user has a secret: such a proxy would have
// no authentication, or no use. It does no I/O and starts no goroutine.
func New(config Config) (*Proxy, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.Replay == nil {
		config.Replay = newReplayCache(config.Log)
	}
	p := &Proxy{
		config:      config,
		descriptors: netx.MaxDescriptors(),
		search:      keysearch.New(keysearch.Config{Processors: config.SearchProcessors}),
		loops:       newLoops(),
		sessions:    make(map[*session]struct{}),
		ended:       usages{users: make(map[string]*UserStats)},
		workers:     workers.New(),
		memory:      memoryRelease{release: config.ReleaseMemory},
	}
	p.config.Users = nil // they are in a snapshot
	p.dataCenters = newDataCenters(func(c DataCenterChange) { p.trace.dataCenterChanged(c) })
	p.log = newSessionLog(&config, p.dataCenters.isFailing)
	p.trace = slices.Concat(traces{p.log.trace()}, config.Traces)
	p.trace = slices.DeleteFunc(p.trace, func(t *Trace) bool { return t == nil })
	p.relaying.Go = p.workers.Go
	p.resolver = resolve.New(resolve.Config{Warn: p.resolverFailed})
	p.accepting, p.stopServing = context.WithCancelCause(context.Background())
	p.running, p.stop = context.WithCancel(context.Background())
	settings, err := p.newSettings(config)
	if err != nil {
		return nil, err
	}
	p.pending = admission.New(settings.pendingShares(), admissionGrace)
	p.headers = admission.New(settings.headerShares(), admissionGrace)
	p.shortage.Tables = []*admission.Table{p.pending, p.headers}
	p.fronted = admission.New(shares(settings.MaxFronted), admissionGrace)
	p.fronts, err = fronting.New(fronting.Config{
		DialContext: config.DialContext,
		Resolver:    p.resolver,
		DialTimeout: settings.DialTimeout,
		MaxTunnels:  maxHosted(settings.MaxFronted),
		// Each is also one of the fronted connections.
		MaxPreconnected: maxHosted(settings.MaxFronted),
		Log:             config.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := p.setUsers(config.Users, settings); err != nil {
		return nil, err
	}
	p.setRelay()
	return p, nil
}

// resolverFailed warns that a host name is not resolved any more.
func (p *Proxy) resolverFailed(host string, err error, unlogged int) {
	p.config.Log.LogAttrs(context.Background(), slog.LevelWarn, "the host cannot be looked up, its last addresses stay in use",
		appendUnlogged([]slog.Attr{slog.String("host", host), slog.Any("cause", err)}, unlogged)...)
}

// connectAddress is the router's Connect.
func (p *Proxy) connectAddress(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	poller := p.relaying.Poller // nil before the first Serve
	p.mu.Unlock()
	return poller.Connect(ctx, address)
}

// newRouter returns a router for config.
func (p *Proxy) newRouter(config *Config) (*route.Router, error) {
	var upstreams []route.UpstreamURL
	for _, upstream := range config.Upstreams {
		upstreams = append(upstreams, upstream.url)
	}
	return route.New(route.Config{
		DataCenters:     config.DataCenters,
		Upstreams:       upstreams,
		Family:          config.Family,
		Default:         config.DefaultDC,
		DisableFastMode: config.DisableFastMode,
		DialTimeout:     config.DialTimeout,
		DialContext:     config.DialContext,
		Connect:         p.connectAddress,
		Resolver:        p.resolver,
		Attempted:       p.attempted(),
	})
}
