package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/mtproxy"
)

// session is a client's connection, from its acceptance to its end. It has a
// goroutine until it is connected to its data centre; from then on it has what
// its splice.Pair needs, which is none while nothing moves.
type session struct {
	proxy  *Proxy
	socket net.Conn       // as it was accepted
	source netip.AddrPort // the client's address, as a PROXY protocol header says
	start  time.Time
	stage  atomic.Uint32 // a stage
	last   atomic.Int64  // when bytes moved last, in nanoseconds since start

	guest guest // until it has shown a secret

	// Of a stranger, or of who may be one: see stranger.go.
	early      *fronting.Preconnected
	fronted    fronting.Result
	frontErr   error
	unsearched bool // not looked for among all secrets

	// Known once it is authenticated, user and mode once it is answered.
	user     int // place in Config.Users; -1 if several have the hello's key
	mode     mtproxy.Modes
	protocol mtwire.Protocol
	dc       mtwire.DC

	// Known once the data centre is dialled.
	leg *route.Upstream
	up  recoding

	stall     stall
	errorCode atomic.Uint32 // the transport error that the data centre sent

	mu     sync.Mutex
	pair   *splice.Pair
	cancel context.CancelFunc // until there is a pair
	cause  error              // why it was ended from here
}

func (s *session) reach(next stage) { s.stage.Store(uint32(next)) }

// run is the session until it is connected, or refused.
func (s *session) run(ctx context.Context, listener *mtwire.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	if s.cancel = cancel; s.cause != nil {
		cancel()
	}
	s.mu.Unlock()
	if err := s.connect(ctx, listener); err != nil {
		s.end(splice.Result{Bytes: s.fronted.Up, Err: err}, splice.Result{Bytes: s.fronted.Down})
	}
}

// connect brings the session as far as its relay. Its error is the session's
// end.
func (s *session) connect(ctx context.Context, listener *mtwire.Listener) error {
	if err := s.readHeader(); err != nil {
		return err
	}
	s.proxy.lobby.enter(s, true)
	client := listener.Server(s.socket)
	if err := s.await(ctx, client); err != nil {
		return err
	}
	s.proxy.lobby.spoke(s)
	s.reach(hello)
	stream, err := client.Detach(context.WithValue(ctx, sessionKey{}, s))
	if err != nil {
		if t := client.Transport(); t.FakeTLS {
			s.reach(helloAnswered)
			s.user, s.mode = t.Secret, mtproxy.EE
		}
		return err
	}
	if s.early != nil {
		s.early.Close()
	}
	s.reach(authenticated)
	s.proxy.counters.authenticated.Add(1)
	t := client.Transport()
	s.user, s.mode, s.protocol, s.dc = t.Secret, modeOf(t), t.Protocol, t.DC
	if s.leg, err = s.proxy.router.Dial(ctx, route.Request{DC: s.dc, Protocol: s.protocol, Download: &stream.Download}); err != nil {
		s.proxy.counters.unreachable.Add(1)
		return err
	}
	s.reach(dialled)
	if err := s.greet(ctx, &stream); err != nil {
		return err
	}
	return s.relay(ctx, &stream)
}

// greet sends the init payload upstream, and with it what the client has said
// already.
func (s *session) greet(ctx context.Context, stream *mtwire.Stream) error {
	s.up = recoding{records: stream.Records, receive: stream.Receive, send: s.leg.Stream.Send}
	if s.leg.Stream.FakeTLS {
		s.leg.Stream.Conn = faketls.NewConn(s.leg.Stream.Conn, frame.Client)
	}
	stop := context.AfterFunc(ctx, func() { s.leg.Stream.Conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	first := append(s.leg.Stream.Init, stream.Read...)
	s.up.send.XORKeyStream(first[len(s.leg.Stream.Init):], stream.Read)
	s.leg.Stream.Init = nil
	if len(stream.Read) > 0 {
		s.expect()
	}
	if _, err := s.leg.Stream.Conn.Write(first); err != nil {
		return err
	}
	if len(stream.Read) > 0 {
		s.movedUp(len(stream.Read))
	}
	return ctx.Err()
}

// relay lets go of the session's goroutine: from here on its pair has it.
func (s *session) relay(ctx context.Context, stream *mtwire.Stream) error {
	up := splice.Flow{Dst: s.leg.Stream.Conn, Src: stream.Socket, Transform: s.editUp, Parked: s.up.rest, Moved: s.movedUp}
	down := splice.Flow{Dst: stream.Socket, Src: s.leg.Stream.Conn, Moved: s.movedDown}
	if s.up.records != nil {
		down.Framing = clientRecords
	}
	download := stream.Download
	if s.leg.Stream.Receive != nil {
		recode := &recoding{receive: *s.leg.Stream.Receive, send: download.Cursor(0)}
		down.Transform, down.Parked = recode.edit, recode.rest
	}
	down.Inspect = (&watch{
		decoder:  frame.Decoder{Protocol: s.protocol, From: frame.Server},
		download: &download,
		failed:   s.failed,
	}).see
	already := int64(len(stream.Read))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	s.proxy.counters.carried.Add(1)
	s.pair = splice.Start(up, down, &s.proxy.relaying, func(up, down splice.Result) {
		s.proxy.counters.carried.Add(-1)
		up.Bytes += already
		s.end(up, down)
	})
	return nil
}

// clientRecords is how bytes go to a client that speaks FakeTLS.
var clientRecords = &splice.Framing{
	HeaderLength: faketls.RecordHeaderLength,
	MaxBody:      16<<10 - faketls.RecordHeaderLength,
	PutHeader:    func(header []byte, n int) { faketls.AppendRecordHeader(header[:0], n) },
}

// editUp is about what is to be written in the next moment. An answer may come
// before movedUp does.
func (s *session) editUp(b []byte) (n int, err error) {
	if n, err = s.up.edit(b); n > 0 {
		s.expect()
	}
	return n, err
}

func (s *session) movedUp(int) {
	s.moved()
	s.stage.CompareAndSwap(uint32(dialled), uint32(firstUp))
}

func (s *session) movedDown(int) {
	s.moved()
	if stage(s.stage.Load()) != firstDown {
		s.reach(firstDown)
	}
	s.stall.answered()
}

func (s *session) moved() { s.last.Store(int64(time.Since(s.start))) }

// failed notes a transport error of the data centre.
func (s *session) failed(code uint32) {
	s.errorCode.Store(code)
	s.proxy.counters.transportErrors.Add(1)
}

// abort ends the session from outside.
func (s *session) abort(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
	}
	if s.pair != nil {
		s.pair.Abort(s.cause)
		return
	}
	s.socket.Close() // whatever is read from it, by whomever
	if s.cancel != nil {
		s.cancel()
	}
}

// quiet says whether nothing is lost when the session ends now.
func (s *session) quiet() bool {
	age := time.Since(s.start)
	switch stage(s.stage.Load()) {
	case accepted:
		return true
	case hello, helloAnswered, authenticated: // a handshake, or a stranger at the fronting host
		return age >= handshakeGrace
	}
	silent := age - time.Duration(s.last.Load())
	return silent >= stuckTime || silent >= quietTime && !s.stuck()
}

// stuck says whether there are bytes on their way that somebody does not take.
func (s *session) stuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pair != nil && (underWay(s.socket) || underWay(s.leg.Stream.Conn))
}

// end closes what is open, and says what became of it.
func (s *session) end(up, down splice.Result) {
	s.stall.stop()
	s.socket.Close()
	if s.early != nil {
		s.early.Close()
	}
	if s.leg != nil {
		s.leg.Close()
	}
	if stage(s.stage.Load()) == hello {
		s.proxy.counters.strangers.Add(1)
	}
	s.proxy.counters.up.Add(up.Bytes)
	s.proxy.counters.down.Add(down.Bytes)
	s.log(up, down)
	s.proxy.forget(s)
}

// client is the client's address, as "192.0.2.1:1234", or "@" on a Unix socket.
func (s *session) client() string {
	if s.source.IsValid() {
		return s.source.String()
	}
	return s.socket.RemoteAddr().String()
}

// from is where the client is, or not valid if that is not known.
func (s *session) from() netip.Addr {
	if s.source.IsValid() {
		return s.source.Addr()
	}
	if tcp, ok := s.socket.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}

// headerTimeout bounds how long a load balancer may take to say who its client
// is.
const headerTimeout = 10 * time.Second

// readHeader reads the PROXY protocol header of a peer that is trusted to send
// one.
func (s *session) readHeader() (err error) {
	if !s.proxy.trust.Contains(s.socket.RemoteAddr()) {
		return nil
	}
	s.socket.SetReadDeadline(time.Now().Add(headerTimeout))
	s.source, err = proxyprotocol.Read(s.socket)
	s.socket.SetReadDeadline(time.Time{})
	return err
}

// sessionKey has a session in the context of its handshake.
type sessionKey struct{}

func sessionOf(ctx context.Context) *session { return ctx.Value(sessionKey{}).(*session) }

// modeOf returns the mode that a client used.
func modeOf(t mtwire.Transport) mtproxy.Modes {
	switch {
	case t.FakeTLS:
		return mtproxy.EE
	case t.Protocol == mtwire.PaddedIntermediate:
		return mtproxy.DD
	}
	return mtproxy.Classic
}
