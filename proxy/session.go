package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/relay"
)

// session is a client's connection, from its acceptance to its end. It has a
// goroutine until it is connected to its data centre; from then on it has what
// its relay.Pair needs, which is none while nothing moves.
type session struct {
	proxy  *Proxy
	socket net.Conn // as it was accepted
	start  time.Time
	stage  atomic.Uint32 // a Stage
	last   atomic.Int64  // when bytes moved last, in nanoseconds since start

	// Known once it is authenticated.
	user     int // place in Config.Users
	mode     Modes
	protocol mtwire.Protocol
	dc       mtwire.DC

	// Known once the data centre is dialled.
	leg *leg
	up  upload

	// waiting is when a byte went up that nothing has come down after, in
	// nanoseconds since start; 0 if there is none. See stall.go.
	waiting atomic.Int64
	timing  atomic.Bool // a timer runs

	ended     atomic.Bool
	errorCode atomic.Uint32 // the transport error that the data centre sent

	mu    sync.Mutex
	pair  *relay.Pair
	cause error // why it was ended from here
}

func (s *session) reach(stage Stage) { s.stage.Store(uint32(stage)) }

// run is the session until it is connected, or refused.
func (s *session) run(ctx context.Context, listener *mtwire.Listener) {
	err := s.connect(ctx, listener)
	if err != nil {
		s.end(relay.Result{Err: err}, relay.Result{})
	}
}

// connect brings the session as far as its relay. Its error is the session's
// end.
func (s *session) connect(ctx context.Context, listener *mtwire.Listener) error {
	client := listener.Server(s.socket)
	if err := client.Await(ctx); err != nil {
		return err
	}
	s.reach(Hello)
	stream, err := client.Detach(ctx)
	if err != nil {
		return err
	}
	s.reach(Authenticated)
	s.proxy.counters.authenticated.Add(1)
	t := client.Transport()
	s.user, s.mode, s.protocol, s.dc = t.Secret, modeOf(t), t.Protocol, t.DC
	if s.leg, err = s.proxy.dial(ctx, s.dc, s.protocol, &stream.Download); err != nil {
		s.proxy.counters.unreachable.Add(1)
		return err
	}
	s.reach(Dialled)
	if err := s.greet(ctx, &stream); err != nil {
		return err
	}
	return s.relay(ctx, &stream)
}

// greet sends the init payload upstream, and with it what the client has said
// already.
func (s *session) greet(ctx context.Context, stream *mtwire.Stream) error {
	s.up = upload{records: stream.Records, receive: stream.Receive, send: s.leg.Send}
	stop := context.AfterFunc(ctx, func() { s.leg.Conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	first := append(s.leg.Init, stream.Read...)
	s.leg.Send.XORKeyStream(first[len(s.leg.Init):], stream.Read)
	s.leg.Init = nil
	if _, err := s.leg.Conn.Write(first); err != nil {
		return err
	}
	if len(stream.Read) > 0 {
		s.movedUp(len(stream.Read))
	}
	return ctx.Err()
}

// relay lets go of the session's goroutine: from here on its pair has it.
func (s *session) relay(ctx context.Context, stream *mtwire.Stream) error {
	up := relay.Flow{Dst: s.leg.Conn, Src: stream.Socket, Edit: s.up.edit, Moved: s.movedUp}
	down := relay.Flow{Dst: stream.Socket, Src: s.leg.Conn, Moved: s.movedDown}
	if s.up.records != nil {
		down.Framing = clientRecords
	}
	download := stream.Download
	w := &watch{
		decoder:  frame.Decoder{Protocol: s.protocol, From: frame.Server},
		download: &download,
		failed:   s.failed,
	}
	down.Watch = w.see
	already := int64(len(stream.Read))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	s.proxy.counters.carried.Add(1)
	s.pair = relay.Start(up, down, &s.proxy.relaying, func(up, down relay.Result) {
		s.proxy.counters.carried.Add(-1)
		up.Bytes += already
		s.end(up, down)
	})
	return nil
}

// clientRecords is how bytes go to a client that speaks FakeTLS.
var clientRecords = &relay.Framing{
	HeaderLen: faketls.RecordHeaderLen,
	MaxBody:   16<<10 - faketls.RecordHeaderLen,
	PutHeader: func(header []byte, n int) { faketls.AppendRecordHeader(header[:0], n) },
}

func (s *session) movedUp(int) {
	now := s.moved()
	s.stage.CompareAndSwap(uint32(Dialled), uint32(FirstUp))
	s.expect(now)
}

func (s *session) movedDown(int) {
	s.moved()
	if Stage(s.stage.Load()) != FirstDown {
		s.reach(FirstDown)
	}
	if s.waiting.Load() != 0 {
		s.waiting.Store(0)
	}
}

func (s *session) moved() (now int64) {
	now = int64(time.Since(s.start))
	s.last.Store(now)
	return now
}

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
	} else {
		s.socket.Close() // whatever it waits for
	}
}

// quiet says whether nothing is lost when the session ends now.
func (s *session) quiet() bool {
	switch Stage(s.stage.Load()) {
	case Accepted:
		return true
	case FirstUp, FirstDown:
		return time.Since(s.start)-time.Duration(s.last.Load()) >= quietTime
	}
	return false // on its way, and under a limit of its own
}

// end closes what is open, and says what became of it.
func (s *session) end(up, down relay.Result) {
	s.ended.Store(true)
	s.socket.Close()
	if s.leg != nil {
		s.leg.Conn.Close()
	}
	s.proxy.counters.up.Add(up.Bytes)
	s.proxy.counters.down.Add(down.Bytes)
	s.log(up, down)
	s.proxy.forget(s)
}

// log writes the session's line.
func (s *session) log(up, down relay.Result) {
	stage := Stage(s.stage.Load())
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.Any("stage", stage))
	if stage >= Authenticated {
		attrs = append(attrs,
			slog.String("user", s.proxy.config.Users[s.user].Name),
			slog.String("mode", s.mode.String()),
			slog.String("protocol", s.protocol.String()),
			slog.Int("dc", int(s.dc)))
	}
	if stage >= Dialled {
		attrs = append(attrs, slog.String("address", s.leg.Address), slog.String("via", s.leg.Via))
	}
	if s.proxy.config.LogClients {
		attrs = append(attrs, slog.String("client", s.client()))
	}
	now := time.Since(s.start)
	attrs = append(attrs, slog.Int64("up", up.Bytes), slog.Int64("down", down.Bytes),
		slog.Duration("duration", now.Round(time.Millisecond)))
	if last := s.last.Load(); last != 0 {
		attrs = append(attrs, slog.Duration("idle", (now-time.Duration(last)).Round(time.Millisecond)))
	}
	if code := s.errorCode.Load(); code != 0 {
		attrs = append(attrs, slog.Int("transport_error", int(code)))
	}
	attrs = append(attrs, slog.String("cause", cause(errors.Join(up.Err, down.Err))))
	s.proxy.config.Log.LogAttrs(context.Background(), slog.LevelInfo, "closed", attrs...)
}

func (s *session) client() string { return s.socket.RemoteAddr().String() }

func cause(err error) string {
	if err == nil {
		return "end of stream"
	}
	return err.Error()
}
