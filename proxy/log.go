package proxy

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/splice"
)

// log writes the session's line. Secrets are in none, and the client's address
// only if that was asked for.
func (s *session) log(up, down splice.Result) {
	reached := stage(s.stage.Load())
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("stage", reached.String()))
	if reached < helloAnswered {
		unlogged, ok := s.proxy.strangerLog.allow(time.Now())
		if !ok {
			return
		}
		if unlogged > 0 {
			attrs = append(attrs, slog.Int("unlogged_before", unlogged))
		}
	} else {
		if s.user >= 0 {
			attrs = append(attrs, slog.String("user", s.proxy.config.Users[s.user].Name))
		}
		attrs = append(attrs, slog.String("mode", s.mode.String()))
	}
	if reached >= authenticated {
		attrs = append(attrs, slog.String("protocol", s.protocol.String()), slog.Int("dc", int(s.dc)))
	}
	if reached >= dialled {
		attrs = append(attrs, slog.String("address", s.leg.Address), slog.String("via", s.leg.Via))
	}
	if s.fronted.Domain != "" {
		attrs = append(attrs, slog.String("front", s.fronted.Domain))
	}
	if s.proxy.config.LogClients {
		attrs = append(attrs, slog.String("client", s.client()))
	}
	age := time.Since(s.start)
	attrs = append(attrs, slog.Int64("up", up.Bytes), slog.Int64("down", down.Bytes),
		slog.Duration("duration", age.Round(time.Millisecond)))
	if last := time.Duration(s.last.Load()); last != 0 {
		attrs = append(attrs, slog.Duration("idle", (age-last).Round(time.Millisecond)))
	}
	if code := s.errorCode.Load(); code != 0 {
		attrs = append(attrs, slog.Int("transport_error", int(code)))
	}
	attrs = append(attrs, slog.String("cause", s.describe(s.why(errors.Join(up.Err, down.Err, s.frontErr)))))
	s.proxy.config.Log.LogAttrs(context.Background(), slog.LevelInfo, "closed", attrs...)
}

// why is what ended the session: what was done from here, or else what it says
// itself.
func (s *session) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause // and err is only what came of it
	}
	return err
}

// describe is an error in one line, without the client's address.
func (s *session) describe(err error) string {
	if err == nil {
		return "end of stream"
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if client := s.socket.RemoteAddr().String(); client != "" { // a Unix socket may have none
		text = strings.ReplaceAll(text, client, "[client]")
	}
	return text
}

// lineLimit keeps strangers from filling the log: their lines come at most so
// often, and say how many were left out.
type lineLimit struct {
	mu       sync.Mutex
	next     time.Time
	unlogged int
}

const (
	// strangerLines is how much time one line stands for, and strangerBurst
	// how many may come at once.
	strangerLines = 100 * time.Millisecond
	strangerBurst = 100
)

// allow says whether a line may be written, and how many were not since the
// last one.
func (l *lineLimit) allow(now time.Time) (unlogged int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.Sub(now) > strangerBurst*strangerLines {
		l.unlogged++
		return 0, false
	}
	if l.next.Before(now) {
		l.next = now
	}
	l.next = l.next.Add(strangerLines)
	unlogged, l.unlogged = l.unlogged, 0
	return unlogged, true
}
