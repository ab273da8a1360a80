package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
)

// Of the records of sessions that were not relayed, which any client can cause, maxLines
// come at once and one more after each lineInterval.
const (
	maxLines     = 60
	lineInterval = time.Second
)

// lineLimit limits records. Its zero value is ready.
type lineLimit struct {
	mu       sync.Mutex
	paid     time.Time // when the records so far are paid for
	unlogged int
}

// allow reports whether a record may be written, and how many were left out before.
func (l *lineLimit) allow() (unlogged int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paid.Sub(now) > (maxLines-1)*lineInterval {
		l.unlogged++
		return 0, false
	}
	if l.paid.Before(now) {
		l.paid = now
	}
	l.paid = l.paid.Add(lineInterval)
	unlogged, l.unlogged = l.unlogged, 0
	return unlogged, true
}

// warnInterval is the time between two warnings of one kind.
const warnInterval = time.Minute

// warnings limits the warnings of one kind. Its zero value is ready.
type warnings struct {
	mu   sync.Mutex
	last time.Time
}

// due reports whether a warning may be written.
func (w *warnings) due() bool {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	due := w.last.IsZero() || now.Sub(w.last) >= warnInterval
	if due {
		w.last = now
	}
	return due
}

// log writes the record of an ended connection.
func (s *session) log(err error) {
	attributes := []any{
		"client", s.client.RemoteAddr().String(), "transport", s.transport.String(),
		"up", s.up.bytes, "up_packets", s.up.packets, "down", s.down.bytes, "down_packets", s.down.packets,
		"duration", time.Since(s.start).Round(time.Millisecond).String(),
	}
	if s.to != nil {
		attributes = append(attributes, "to", s.to.nameFor(s.dc))
	}
	if s.answered && isEnd(err) {
		s.relay.config.Log.Info("relayed", attributes...)
		return
	}
	unlogged, ok := s.relay.failedLines.allow()
	if !ok {
		return
	}
	if attributes = append(attributes, "err", err); unlogged > 0 {
		attributes = append(attributes, "unlogged_before", unlogged)
	}
	s.relay.config.Log.Warn("not relayed to its end", attributes...)
}

// logRejected writes the record of a client whose handshake was not accepted, such as one with a
// wrong secret. One that has left before, or sent nothing, has none.
func (s *session) logRejected(err error) {
	var rejected *mtwire.UnauthenticatedError
	if !errors.As(err, &rejected) || len(rejected.First) == 0 {
		return
	}
	unlogged, ok := s.relay.rejectedLines.allow()
	if !ok {
		return
	}
	attributes := []any{
		"client", s.client.RemoteAddr().String(), "err", rejected.Err,
		"duration", time.Since(s.start).Round(time.Millisecond).String(),
	}
	if unlogged > 0 {
		attributes = append(attributes, "unlogged_before", unlogged)
	}
	s.relay.config.Log.Info("a client is not authenticated", attributes...)
}

// isEnd reports whether err is an end like any other.
func isEnd(err error) bool {
	for _, end := range []error{errClientEnded, io.EOF, context.Canceled, mtwire.ErrShutdown} {
		if errors.Is(err, end) {
			return true
		}
	}
	return err == nil
}
