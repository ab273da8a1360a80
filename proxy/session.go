package proxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/drain"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// session is a client's connection, from its acceptance to its end. It has a
// goroutine until it is connected to its data centre or fronting host; from then
// on it has what its splice.Pair needs, which is none while nothing moves.
type session struct {
	proxy  *Proxy
	id     uint64
	socket net.Conn       // as accepted
	source netip.AddrPort // the client's address in a PROXY protocol header; written under mu
	start  time.Time
	stage  atomic.Uint32 // a Stage
	class  atomic.Uint32 // an admission.Class, until the client is authenticated
	mu     sync.Mutex
	last   atomic.Int64 // when bytes moved last, in nanoseconds since start; 0 if never

	// When the last pause of a direction ends, for the policy's rate limit; 0 if there was none.
	pausedUntil [2]atomic.Int64
	unpaced     atomic.Int64 // bytes sent up before there was a pair, for the next Account.Delay

	*unauthenticated // nil once there is a pair

	records *splice.Framing // of the host that a FakeTLS client names

	// Known once the client is authenticated.
	user     atomic.Pointer[User]
	account  Account // nil if the policy imposes no limits
	protocol frame.Protocol
	mode     mtproxy.Modes // written under mu
	dc       datacenter.DC

	transportError atomic.Uint32

	// Known once the data centre is dialled. Written under mu; see failover.go.
	upstream struct {
		Via, Address string
		conn         net.Conn
	}
	sent   *sentUpload // nil if no upstream is an MTProxy
	up     reencrypter
	down   *reencrypter          // nil if the download is passed on as it is
	first  *errorScanner         // of the download's first packets; nil after them
	stays  atomic.Bool           // another process has not taken it
	before adoptedBytes          // what another process has moved
	trial  atomic.Pointer[trial] // nil after the first byte down

	dataCenter *dataCenterState
	dialled    int64 // when the data centre was; see dataCenters.now
	stall      stallTimer

	// Guarded by mu.
	secret   mtproxy.Secret     // the client's
	early    int64              // bytes sent up before there was a pair
	pair     *splice.Pair       // nil while the client is moved on
	cancel   context.CancelFunc // while there is no pair
	closed   error              // the cause given to Close
	err      error              // what ended the session
	duration time.Duration      // at its end; 0 before
}

// unauthenticated is the part of a session whose client is not authenticated; see
// limits.go, mirror.go, fronting.go.
type unauthenticated struct {
	pending       admission.Member // of the unauthenticated connections
	fronted       admission.Member // of those with a connection to a fronting host
	mirror        *mirror          // nil if there are no fronting hosts
	searchSkipped bool

	// Set under the session's mu, at the end of a tunnel.
	tunnel    fronting.Result
	tunnelErr error

	web *WebConn // that the web site serves; set under the session's mu
}

// dropUnauthenticated gives up the memory of what only an unauthenticated client has.
// Under mu.
func (s *session) dropUnauthenticated() {
	if s.unauthenticated != nil {
		s.leave()
		s.unauthenticated = nil
	}
}

// leave ends the session's membership of the unauthenticated connections.
func (s *session) leave() {
	if s.unauthenticated != nil {
		s.proxy.pending.Leave(&s.pending)
		s.proxy.fronted.Leave(&s.fronted)
	}
}

// ID is a number that no other session of the proxy has.
func (s *session) ID() uint64 { return s.id }

// User returns the client's user, nil until the client is authenticated.
func (s *session) User() *User { return s.user.Load() }

func (s *session) reach(next Stage) { s.stage.Store(uint32(next)) }

// run is the session from the PROXY protocol header, if any, until it is connected, or
// refused.
func (s *session) run() {
	// Contexts without a parent: a silent client has no memory for their lists.
	ctx, end := context.WithCancelCause(context.Background())
	s.onClose(func() { end(nil) })
	s.proxy.pending.Enter(&s.pending, s, s.clientAddr(), admission.Silent)
	awaitCtx, stop := ctx, func() {}
	stream := s.webStream()
	if stream == nil && !s.proxy.fronts.Empty() {
		s.mirror = newMirror(s, end)
	} else { // there is no host whose timeout applies
		awaitCtx, stop = context.WithTimeout(ctx, silenceLimit())
	}
	s.awaitFirst(awaitCtx, func(h *handshake.Handshake, err error) {
		stop()
		err = s.connect(ctx, h, &authentication{session: s, endHandshake: end, stream: stream}, err)
		end(nil)
		s.connected(err)
	})
}

// onClose makes Close call cancel, at once if it was called before.
func (s *session) onClose(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel = cancel; s.closed != nil {
		cancel()
	}
}

// connected ends the session if err is not nil: it is not connected.
func (s *session) connected(err error) {
	if err == nil || err == errHandedOver { // the pair ends it, or the tunnel
		return
	}
	s.end(splice.Result{Err: err}, splice.Result{})
	s.cancel()
}

// connect brings the session to its relay, after the wait for the client's first
// byte, which has ended with err. handshakeCtx ends the handshake. The error is the
// session's end, or errHandedOver.
func (s *session) connect(handshakeCtx context.Context, h *handshake.Handshake, auth *authentication, err error) error {
	var client *handshake.Result
	if err == nil {
		client, err = s.authenticate(handshakeCtx, h, auth)
	}
	host := s.stopMirror()
	ctx, cancel := context.WithCancel(context.Background())
	s.onClose(cancel)
	if err != nil {
		return s.reject(ctx, handshakeCtx, h, host, err)
	}
	if host != nil {
		host.Close()
		s.proxy.fronted.Leave(&s.fronted)
	}
	s.protocol, s.dc = client.Protocol, client.DC
	auth.setUser(client.Secret, auth.mode)
	s.reach(Authenticated)
	settings := s.proxy.settings()
	netx.SetLiveness(s.socket, settings.liveness)
	s.proxy.counters.authenticated.Add(1)
	s.proxy.trace.authenticated(s)
	if settings.loops == nil {
		return s.connectUpstream(ctx, client)
	}
	s.checkLoop(ctx, client, func(err error) {
		if err == nil {
			err = s.connectUpstream(ctx, client)
		}
		s.connected(err)
	})
	return errHandedOver
}

// connectUpstream brings the session of an authenticated client to its relay, perhaps
// after it has returned: then the error is errHandedOver.
func (s *session) connectUpstream(ctx context.Context, client *handshake.Result) error {
	if s.account != nil && ctx.Err() == nil {
		if pause := s.account.Wait(); pause > 0 {
			s.connectLater(ctx, pause, client)
			return errHandedOver
		}
	}
	upstream, err := s.dial(ctx, client)
	if err != nil {
		return err
	}
	return s.begin(ctx, client, upstream)
}

// connectLater is connectUpstream after a pause, for which no goroutine waits. If the client
// leaves, the session ends, and its turn is the user's next one's. A client that has ended its
// stream behind its packets has left, too: it could wait for minutes.
func (s *session) connectLater(ctx context.Context, pause time.Duration, client *handshake.Result) {
	stop, watched := s.proxy.relaying.Poller.AwaitEnd(s.socket, true, func() { s.Close(errClientGone) })
	wait, cancel := context.WithTimeout(ctx, pause)
	context.AfterFunc(wait, func() {
		cancel()
		if watched {
			stop() // before the relay awaits the client's bytes there
		}
		s.connected(s.connectUpstream(ctx, client))
	})
}

// authenticate runs the client's handshake, after its first byte.
func (s *session) authenticate(ctx context.Context, h *handshake.Handshake, auth *authentication) (*handshake.Result, error) {
	s.setClass(admission.Partial)
	s.reach(ClientBytes)
	auth.users = s.proxy.users.Load() // the client may have been silent for hours
	if auth.stream != nil {
		return h.Run(ctx, &webHandshake, auth)
	}
	if s.mirror == nil && !s.proxy.fronts.Empty() {
		s.mirror = newMirror(s, auth.endHandshake) // there was no host when it connected
	}
	return h.Run(ctx, &auth.users.handshake, auth)
}

// dial connects the data centre. What fails because the session was closed does not
// count as unreachable.
func (s *session) dial(ctx context.Context, client *handshake.Result) (*route.Upstream, error) {
	if err := ctx.Err(); err != nil { // its secret was removed during the handshake
		return nil, err
	}
	user := s.user.Load()
	request := route.Request{DC: client.DC, Protocol: client.Protocol, Download: &client.Download, Trailer: &client.Trailer, User: user.Name, Tag: user.AdTag}
	outbound := s.proxy.dialer(s.proxy.settings())
	upstream, err := outbound.Dial(ctx, request)
	if err != nil {
		upstream, err = admission.Redial(ctx, &s.proxy.shortage, err, func(ctx context.Context) (*route.Upstream, error) {
			return outbound.Dial(ctx, request)
		})
	}
	if err != nil {
		if ctx.Err() == nil {
			if errors.Is(err, route.ErrPaddedOnly) {
				s.proxy.counters.refusedFraming.Add(1)
			} else {
				s.proxy.counters.unreachable.Add(1)
			}
			s.proxy.dataCenters.unreachable(client.DC, err)
			s.proxy.trace.unreachable(s, err)
		}
		return nil, err
	}
	return onlyStream(upstream)
}

// errNoStream means that an Outbound has returned a PacketConn.
var errNoStream = errors.New("the upstream carries packets, and sessions are relayed as streams")

// onlyStream returns upstream, or an error if it is no stream.
func onlyStream(upstream *route.Upstream) (*route.Upstream, error) {
	if upstream.Stream != nil {
		return upstream, nil
	}
	if upstream.Packets != nil {
		upstream.Packets.Close()
	}
	return nil, errNoStream
}

// relay hands the session over to its pair, and ends its goroutine.
func (s *session) relay(t *trial, stream *route.Stream) error {
	client := t.client
	s.down = nil
	if stream.Receive != nil {
		s.down = &reencrypter{receive: *stream.Receive, send: client.Download.Cursor(0), watch: s.checkAnswer}
	}
	s.first = s.newScanner(client.Download)
	up, down := s.flows(client.Conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return s.closed
	}
	s.dropUnauthenticated()
	s.proxy.counters.relaying.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	s.pair = splice.Start(up, down, s.proxy.relay.Load(), s.relayed)
	t.pair, s.cancel = s.pair, nil // the context has no parent that keeps it
	t.arm()
	return nil
}

// flows returns the two directions of the session's relay.
func (s *session) flows(client net.Conn) (up, down splice.Flow) {
	up = splice.Flow{Dst: s.upstream.conn, Src: client, Transform: s.reencryptUp, Parked: s.up.rest, Moved: s.uploaded}
	down = splice.Flow{Dst: client, Src: s.upstream.conn, Holds: s.holdsAnswer, Moved: s.downloaded, NoBytes: s.noBytes}
	if s.account != nil {
		up.Delay = func(n int) time.Duration { return s.delay(Upload, n) }
		down.Delay = func(n int) time.Duration { return s.delay(Download, n) }
	}
	if s.up.records != nil {
		down.Framing = cmp.Or(s.records, defaultRecords)
	}
	if s.down != nil {
		down.Transform, down.Parked = s.down.transform, s.down.rest
	}
	if s.first != nil {
		down.Inspect = s.inspect
	}
	return up, down
}

// newScanner returns a scanner from the first byte of a download.
func (s *session) newScanner(download obfuscation.KeyStream) *errorScanner {
	return &errorScanner{
		decoder:  frame.Decoder{Protocol: s.protocol, From: frame.Server},
		download: &download,
		answered: s.answered,
		failed:   s.failed,
	}
}

// inspect is the Inspect of the download.
func (s *session) inspect(b []byte) (more bool) {
	if more = s.first.scan(b); !more {
		s.first = nil
	}
	return more
}

// reencryptUp starts the stall timer before the write: the answer may arrive
// before uploaded is called.
func (s *session) reencryptUp(b []byte) (n int, err error) {
	if n, err = s.up.transform(b); n > 0 {
		s.armStall()
	}
	return n, err
}

func (s *session) uploaded(n int) {
	s.moved(Upload, n)
	s.stage.CompareAndSwap(uint32(Dialled), uint32(FirstByteUp))
}

func (s *session) downloaded(n int) {
	s.moved(Download, n)
	if Stage(s.stage.Load()) != FirstByteDown {
		s.reach(FirstByteDown)
	}
	s.dataCenter.heard(s.proxy.dataCenters.at(s, s.last.Load()), s.dialled)
}

// delay asks the account how long a direction pauses, and notes the pause.
func (s *session) delay(d Direction, n int) time.Duration {
	if d == Upload && s.unpaced.Load() > 0 {
		n += int(s.unpaced.Swap(0))
	}
	pause := s.account.Delay(d, n)
	if pause > 0 {
		s.pausedUntil[d].Store(int64(time.Since(s.start) + pause))
	}
	return pause
}

// now returns the session's age in nanoseconds, at least 1.
func (s *session) now() int64 { return max(int64(time.Since(s.start)), 1) }

func (s *session) moved(d Direction, n int) {
	s.last.Store(s.now())
	if s.account != nil {
		s.account.Moved(d, n)
	}
}

// failed notes a transport error of the data centre.
func (s *session) failed(code uint32) {
	s.transportError.Store(code)
	s.proxy.counters.transportErrors.Add(1)
	s.proxy.trace.transportError(s, code)
}

// Close ends the session from outside. cause is its reason, unless it was closed
// before; nil means net.ErrClosed.
func (s *session) Close(cause error) {
	if cause == nil {
		cause = net.ErrClosed
	}
	s.mu.Lock()
	if s.closed == nil {
		s.closed = cause
	}
	if s.unauthenticated != nil && s.web != nil {
		web := s.web
		s.mu.Unlock()
		web.Close()
		return
	}
	defer s.mu.Unlock()
	if s.pair != nil {
		s.pair.Abort(s.closed)
		return
	}
	s.socket.Close() // unblocks any pending read
	if s.cancel != nil {
		s.cancel()
	}
}

// idle reports whether nothing is lost when the session ends now.
func (s *session) idle() bool {
	if isWeb, idle := s.webIdle(); isWeb {
		return idle
	}
	age := time.Since(s.start)
	switch Stage(s.stage.Load()) {
	case Accepted: // its first byte may be on its way
		return age >= drain.IdleTime
	case ClientBytes, ServerHelloSent, Authenticated: // in its handshake, waiting for the user's rate, or tunneled to the fronting host
		return age >= handshakeGrace
	}
	last := max(s.last.Load(), s.pausedUntil[Upload].Load(), s.pausedUntil[Download].Load())
	idle := age - time.Duration(last) // negative during a pause, at whose end there may be bytes
	return idle >= max(blockedTime, drain.IdleTime) || idle >= drain.IdleTime && !s.hasQueuedBytes()
}

// hasQueuedBytes reports whether bytes are on their way that a peer does not
// read.
func (s *session) hasQueuedBytes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pair != nil && (queuedBytes(s.socket) || queuedBytes(s.upstream.conn))
}

// end closes what is open, and reports the session.
func (s *session) end(up, down splice.Result) {
	s.stall.stop()
	s.endTrial()
	s.sent.remove()
	s.socket.Close()
	if s.upstream.conn != nil {
		s.upstream.conn.Close()
	}
	s.mu.Lock()
	if Stage(s.stage.Load()) == ClientBytes && !s.isCarrier() {
		s.proxy.counters.unauthenticated.Add(1)
	}
	s.err, s.duration = s.cause(up, down), max(time.Since(s.start), 1)
	r := s.report()
	s.mu.Unlock()
	if s.account != nil {
		if n := s.unpaced.Swap(0); n > 0 {
			s.account.Delay(Upload, int(n)) // for the user's next session
		}
		s.account.Done(r)
	}
	s.proxy.trace.closed(s, r)
	s.proxy.remove(s, r)
}

// client returns the client's address, as "192.0.2.1:1234", or "@" on a Unix
// socket.
func (s *session) client() string {
	if s.source.IsValid() {
		return s.source.String()
	}
	return s.socket.RemoteAddr().String()
}

// ClientAddr returns the client's address. It may be called at any time.
func (s *session) ClientAddr() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clientAddr()
}

// clientAddr returns the client's address, invalid if it is not known. A socket of both
// families has IPv4 addresses as IPv4-mapped ones, which no IPv4 network contains.
func (s *session) clientAddr() netip.Addr {
	if s.source.IsValid() {
		return s.source.Addr().Unmap()
	}
	return addrPort(s.socket.RemoteAddr()).Addr().Unmap()
}
