package proxy

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

// logTrace returns a Trace that writes one line for each connection, at its end,
// and warnings. Secrets are in none, and clients' addresses only with LogClients.
func logTrace(log *slog.Logger, clients bool) *Trace {
	l := &sessionLog{log: log, clients: clients}
	return &Trace{Stalled: l.stalled, Evicted: l.evicted, AcceptDelayed: l.acceptDelayed, Closed: l.closed}
}

type sessionLog struct {
	log             *slog.Logger
	clients         bool
	unauthenticated lineLimiter

	delays, evictions interval
}

// interval allows something once in warnInterval.
type interval struct {
	mu   sync.Mutex
	next time.Time
}

// warnInterval is the least time between two warnings of one kind.
const warnInterval = time.Minute

func (i *interval) due() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	if now.Before(i.next) {
		return false
	}
	i.next = now.Add(warnInterval)
	return true
}

func (l *sessionLog) closed(_ Session, r Report) {
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("stage", r.Stage.String()))
	if r.Stage < ServerHelloSent {
		unlogged, ok := l.unauthenticated.allow(time.Now())
		if !ok {
			return
		}
		if unlogged > 0 {
			attrs = append(attrs, slog.Int("unlogged_before", unlogged))
		}
	} else {
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
	if l.clients {
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
	cause := "end of stream"
	if r.Err != nil {
		cause = r.Err.Error()
	}
	attrs = append(attrs, slog.String("cause", cause))
	l.log.LogAttrs(context.Background(), slog.LevelInfo, "closed", attrs...)
}

func (l *sessionLog) stalled(s Session, waited time.Duration) {
	r := s.Report()
	level := slog.LevelInfo
	if r.Stage < FirstByteDown {
		level = slog.LevelWarn // not a pause in the conversation
	}
	l.log.LogAttrs(context.Background(), level, "stalled: bytes were sent to the data centre and none came back",
		slog.Int("dc", int(r.DC)), slog.String("address", r.Address), slog.String("via", r.Upstream),
		slog.String("stage", r.Stage.String()), slog.Duration("waited", waited.Round(time.Millisecond)))
}

func (l *sessionLog) acceptDelayed(address net.Addr, err error) {
	if l.delays.due() {
		l.log.Warn("clients have to wait: no connection can be accepted", "listener", address.String(), "cause", err)
	}
}

// evicted warns of a limit, with the network that has reached it and without the
// client's address.
func (l *sessionLog) evicted(_ Session, reason error) {
	if l.evictions.due() {
		l.log.Warn("unauthenticated connections are closed to make room for new ones", "cause", reason)
	}
}

// lineLimiter is a rate limit for the lines of unauthenticated clients, so that
// they cannot fill the log. A line tells how many were left out before it.
type lineLimiter struct {
	mu       sync.Mutex
	next     time.Time
	unlogged int
}

const (
	// lineInterval is how much time one line stands for, and lineBurst how many
	// lines may come at once.
	lineInterval = 100 * time.Millisecond
	lineBurst    = 100
)

// allow reports whether a line may be written, and how many were left out since
// the last one.
func (l *lineLimiter) allow(now time.Time) (unlogged int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.Sub(now) > lineBurst*lineInterval {
		l.unlogged++
		return 0, false
	}
	if l.next.Before(now) {
		l.next = now
	}
	l.next = l.next.Add(lineInterval)
	unlogged, l.unlogged = l.unlogged, 0
	return unlogged, true
}
