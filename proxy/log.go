package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/internal/route"
)

// sessionLog is the log's Trace: it writes a line for each connection, at its end,
// and warnings. Secrets are in none, and clients' addresses only with LogClients.
type sessionLog struct {
	log         *slog.Logger
	clients     atomic.Bool // log their addresses
	connections atomic.Bool // log their ends
	failing     func(datacenter.DC) bool

	users sync.Map // the names of users that have connected, and are there
	loops sync.Map // the upstreams that lead back to the proxy

	closes, stalls                                lineLimiter
	delays, evictions, shortages, refusals, moves interval
}

const (
	// closeBurst and closeInterval limit the lines of connections that have
	// received nothing from a data centre, for each cause.
	closeBurst    = 20
	closeInterval = time.Second
)

func newSessionLog(config *Config, failing func(datacenter.DC) bool) *sessionLog {
	l := &sessionLog{log: config.Log, failing: failing}
	l.setConfig(config)
	l.closes = lineLimiter{burst: closeBurst, interval: closeInterval, rest: l.moreClosed}
	l.stalls = lineLimiter{burst: 1, interval: warnInterval, rest: l.moreStalled}
	return l
}

// setConfig sets which lines there are, and what they have.
func (l *sessionLog) setConfig(config *Config) {
	l.clients.Store(config.LogClients)
	l.connections.Store(!config.DisableConnectionLog)
}

func (l *sessionLog) trace() *Trace {
	return &Trace{
		Authenticated: l.authenticated, Stalled: l.stalled, Unreachable: l.unreachable, DataCenterChanged: l.dataCenterChanged,
		Unanswered: l.unanswered, Looped: l.looped, Evicted: l.evicted, AcceptDelayed: l.acceptDelayed, Closed: l.closed,
	}
}

// forgetUsers forgets the users that are not in now: names are not kept for ever.
func (l *sessionLog) forgetUsers(now *snapshot) {
	l.users.Range(func(name, _ any) bool {
		if now.users[name.(string)] == nil {
			l.users.Delete(name)
		}
		return true
	})
}

// flush writes the numbers of the lines that were left out.
func (l *sessionLog) flush() {
	l.closes.flush()
	l.stalls.flush()
}

// authenticated logs the first connection of each user: a sign of life for an
// operator who has just given out a link.
func (l *sessionLog) authenticated(s Session) {
	name := s.User().Name
	if _, again := l.users.Load(name); again || !l.connections.Load() {
		return
	}
	if _, again := l.users.LoadOrStore(name, nil); again {
		return
	}
	r := s.Report()
	attrs := append(make([]slog.Attr, 0, 5), slog.String("user", name), slog.String("mode", r.Mode.String()),
		slog.String("protocol", r.Protocol.String()), slog.Int("dc", int(r.DC)))
	if l.clients.Load() {
		attrs = append(attrs, slog.String("client", r.Client))
	}
	l.write(slog.LevelInfo, "first connection of this user", attrs...)
}

func (l *sessionLog) closed(_ Session, r Report) {
	level := slog.LevelInfo
	if withoutBytes(r) || r.Carrier {
		level = slog.LevelDebug
	}
	if !l.connections.Load() || !l.log.Enabled(context.Background(), level) {
		return
	}
	cause := "end of stream"
	if r.Err != nil {
		cause = r.Err.Error()
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("stage", r.Stage.String()))
	if r.Stage < FirstByteDown {
		unlogged, ok := l.closes.allow(lineCause{r.Stage, cause})
		if !ok {
			return
		}
		attrs = appendUnlogged(attrs, unlogged)
	}
	if r.Stage >= ServerHelloSent {
		attrs = append(attrs, slog.String("user", r.User.Name), slog.String("mode", r.Mode.String()))
	}
	if r.Stage >= Authenticated {
		attrs = append(attrs, slog.String("protocol", r.Protocol.String()), slog.Int("dc", int(r.DC)))
	}
	if r.Stage >= Dialled {
		attrs = append(attrs, slog.String("address", r.Address), slog.String("via", r.Upstream))
	}
	if r.Front != "" {
		attrs = append(attrs, slog.String("front", r.Front))
	}
	if l.clients.Load() {
		attrs = append(attrs, slog.String("client", r.Client))
	}
	attrs = append(attrs, slog.Int64("up", r.Up), slog.Int64("down", r.Down),
		slog.Duration("duration", r.Duration.Round(time.Millisecond)))
	if r.Idle != 0 {
		attrs = append(attrs, slog.Duration("idle", r.Idle.Round(time.Millisecond)))
	}
	if r.TransportError != 0 {
		attrs = append(attrs, slog.Int("transport_error", int(r.TransportError)))
	}
	l.write(level, "closed", append(attrs, slog.String("cause", cause))...)
}

// withoutBytes reports whether the client has sent nothing, as health checks and port
// scanners do. Bytes that are no PROXY protocol header do not count as nothing.
func withoutBytes(r Report) bool {
	return r.Stage == Accepted && !errors.Is(r.Err, proxyprotocol.ErrNoHeader) && !errors.Is(r.Err, proxyprotocol.ErrMalformed)
}

func appendUnlogged(attrs []slog.Attr, unlogged int) []slog.Attr {
	if unlogged == 0 {
		return attrs
	}
	return append(attrs, slog.Int("unlogged_before", unlogged))
}

func (l *sessionLog) moreClosed(example lineCause, unlogged int) {
	level := slog.LevelInfo
	if example.stage == Accepted {
		level = slog.LevelDebug
	}
	l.write(level, "more connections were closed", slog.String("stage", example.stage.String()),
		slog.Int("connections", unlogged), slog.String("cause", example.text))
}

// stalled logs the stall of one session. The silence of its data centre has a line
// of its own. After an answer it may be a pause in the conversation.
func (l *sessionLog) stalled(s Session, waited time.Duration) {
	r := s.Report()
	level, unlogged := slog.LevelDebug, 0
	if r.Stage < FirstByteDown && !l.failing(r.DC) {
		var ok bool
		if unlogged, ok = l.stalls.allow(lineCause{r.Stage, r.Address}); ok {
			level = slog.LevelWarn
		}
	}
	attrs := append(make([]slog.Attr, 0, 6),
		slog.Int("dc", int(r.DC)), slog.String("address", r.Address), slog.String("via", r.Upstream),
		slog.String("stage", r.Stage.String()), slog.Duration("waited", waited.Round(time.Millisecond)))
	l.write(level, "stalled: bytes were sent to the data centre and none came back", appendUnlogged(attrs, unlogged)...)
}

func (l *sessionLog) moreStalled(example lineCause, unlogged int) {
	l.write(slog.LevelWarn, "more connections have stalled", slog.String("address", example.text), slog.Int("connections", unlogged))
}

// unreachable warns of a shortage of this machine, and of clients that no upstream
// takes. The state of a data centre has a line of its own.
func (l *sessionLog) unreachable(s Session, err error) {
	switch {
	case netx.IsLocal(err):
		if unlogged, ok := l.shortages.due(); ok {
			l.write(slog.LevelWarn, "clients are refused: this machine has no resources for a connection to a data centre",
				appendUnlogged([]slog.Attr{slog.Any("cause", err)}, unlogged)...)
		}
	case errors.Is(err, route.ErrPaddedOnly):
		if unlogged, ok := l.refusals.due(); ok {
			l.write(slog.LevelWarn, "classic clients are refused: all upstreams are MTProxies that take dd and ee clients only",
				appendUnlogged([]slog.Attr{slog.String("user", s.User().Name)}, unlogged)...)
		}
	}
}

func (l *sessionLog) dataCenterChanged(c DataCenterChange) {
	attrs := append(make([]slog.Attr, 0, 5), slog.Int("dc", int(c.DC)), slog.String("state", c.State.String()))
	level, message := slog.LevelWarn, ""
	switch c.State {
	case Unreachable:
		message = "data centre cannot be reached"
		attrs = append(attrs, slog.String("cause", c.Cause.Error()))
	case Silent:
		message = "data centre does not answer"
	default:
		level, message = slog.LevelInfo, "data centre answers again"
		attrs = append(attrs, slog.Duration("after", time.Since(c.Since).Round(time.Millisecond)), slog.Int("failed_sessions", c.Sessions))
	}
	l.write(level, message, attrs...)
}

// unanswered warns of a data centre's address or an upstream that others replace.
func (l *sessionLog) unanswered(s Session, cause error) {
	if unlogged, ok := l.moves.due(); ok {
		r := s.Report()
		l.write(slog.LevelWarn, "clients are moved on to another address or upstream", appendUnlogged([]slog.Attr{
			slog.Int("dc", int(r.DC)), slog.String("address", r.Address), slog.String("via", r.Upstream), slog.Any("cause", cause)}, unlogged)...)
	}
}

// looped warns of each upstream once.
func (l *sessionLog) looped(upstream string) {
	if _, warned := l.loops.LoadOrStore(upstream, true); !warned {
		l.log.Warn("an upstream leads back to this proxy: clients are moved on to others, if there are any", "upstream", upstream)
	}
}

func (l *sessionLog) acceptDelayed(address net.Addr, err error) {
	if unlogged, ok := l.delays.due(); ok {
		l.write(slog.LevelWarn, "clients have to wait: no connection can be accepted",
			appendUnlogged([]slog.Attr{slog.String("listener", address.String()), slog.Any("cause", err)}, unlogged)...)
	}
}

// evicted warns of a limit, with the site that has reached it or, with LogClients, the
// address.
func (l *sessionLog) evicted(_ Session, reason error) {
	unlogged, ok := l.evictions.due()
	if !ok {
		return
	}
	attrs := append(make([]slog.Attr, 0, 3), slog.Any("cause", reason))
	var evicted *admission.EvictedError
	if l.clients.Load() && errors.As(reason, &evicted) && evicted.Network.IsValid() {
		attrs = append(attrs, slog.String("network", evicted.Network.String()))
	}
	l.write(slog.LevelWarn, "unauthenticated connections are closed to make room for new ones", appendUnlogged(attrs, unlogged)...)
}

func (l *sessionLog) write(level slog.Level, message string, attrs ...slog.Attr) {
	// The Logger's own method would look for its caller in the stack, and find this line.
	ctx, handler := context.Background(), l.log.Handler()
	if !handler.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.AddAttrs(attrs...)
	handler.Handle(ctx, record)
}
