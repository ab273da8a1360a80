package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
)

// The end of one direction of a session is passed on behind its last packet, where the
// transport of the other side has a half-close: TCP, with TLS, FakeTLS and obfuscation or
// without, and HTTP to a server, where it means that the requests that have begun are
// answered. The other direction goes on until it ends itself, or nothing has moved for a
// while. A client over WebSocket receives nothing behind its end, which is that of both
// directions once its packets are sent. One over HTTP does so if a request is open.

const (
	// linger is how long nothing may move after the end of a client's stream, besides
	// the time that what is on its way takes at lingerRate, in bytes a second: the
	// client may have closed one direction only.
	linger     = 3 * time.Second
	lingerRate = 1 << 20

	// halfCloseTime is the same once an end was passed on. It is as long as the proxy's.
	halfCloseTime = time.Minute

	// closeTime is the same for a client that receives nothing more: the time in which
	// the server may end its connection, so that closing it loses no packets. One over
	// HTTP ends it behind its answers, for which there is halfCloseTime.
	closeTime = time.Second
)

// ends is what is known of the ends of the two directions.
type ends struct {
	mu       sync.Mutex
	client   bool         // has ended its stream
	to       *mtwire.Conn // the present server, nil while another one is dialled
	passed   bool         // and that was passed on to the present server
	uploaded bool         // and its packets are sent, whether or not it was passed on
	server   bool         // has ended its stream, which was passed on
	unread   bool         // the client takes nothing more
	patience time.Duration
	timer    *time.Timer // nil before the first end
}

// clientEnded begins the end of the client's stream.
func (s *session) clientEnded(ctx context.Context) {
	s.ends.mu.Lock()
	s.ends.client = true
	s.ends.mu.Unlock()
	s.await(linger)
	s.uploads.finish(ctx)
}

// clientFailed ends the session, whose client has ended otherwise than its stream does.
func (s *session) clientFailed(err error) {
	s.ends.mu.Lock()
	ended := s.ends.server
	s.ends.mu.Unlock()
	if ended {
		err = io.EOF // the server's end came before
	}
	s.cancel(err)
}

// endUpload passes the end of the client's stream on to a server. If that is given up, another
// one gets the packets and the end, or the session ends for want of one. The error is that of a
// connection that has failed; it is nil for one without a half-close.
func (s *session) endUpload(ctx context.Context, to *mtwire.Conn) error {
	receives := s.transport.Carrier != mtwire.WebSocket
	e := &s.ends
	e.mu.Lock()
	if e.to != to {
		e.mu.Unlock()
		return nil
	}
	e.passed = true // the server may end before CloseWrite returns
	e.mu.Unlock()
	err := to.CloseWrite(ctx)
	passed := err == nil
	e.mu.Lock()
	if e.to != to {
		e.mu.Unlock()
		return nil
	}
	if !passed && !errors.Is(err, errors.ErrUnsupported) {
		e.passed = false
		e.mu.Unlock()
		return err
	}
	e.passed, e.uploaded = passed, true
	ends := e.answersEnd()
	over := !ends && (e.server || e.unread || !passed && !receives)
	e.mu.Unlock()
	switch {
	case over:
		s.cancel(errClientEnded)
	case s.transport.Carrier == mtwire.HTTP: // most have closed both directions: linger goes on
	case !receives && !ends:
		s.await(closeTime)
	case passed:
		s.await(halfCloseTime)
	}
	return nil
}

// answersEnd reports whether the present server ends its stream behind the answers to all packets.
// Without them a packet may still be on its way, on a connection of its own. Under mu.
func (e *ends) answersEnd() bool { return e.passed && e.to.Transport().Carrier == mtwire.HTTP }

// endPassed reports whether the present server knows that the client has ended.
func (s *session) endPassed() bool {
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	return s.ends.passed
}

// endNotPassed notes that there is another server, or none for now.
func (s *session) endNotPassed(to *mtwire.Conn) {
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	s.ends.to = to
	s.ends.passed, s.ends.uploaded = false, false
}

// uploadFailed ends a session of which only the upload is left.
func (s *session) uploadFailed() {
	s.ends.mu.Lock()
	ended := s.ends.server
	s.ends.mu.Unlock()
	if ended {
		s.cancel(io.EOF)
	}
}

// downloadFailed ends the session, or, if its client has ended, does so when its packets
// have arrived.
func (s *session) downloadFailed(err error) {
	e := &s.ends
	e.mu.Lock()
	e.unread = true
	ended, over := e.client, e.uploaded && !e.answersEnd()
	e.mu.Unlock()
	switch {
	case !ended:
		s.cancel(err)
	case over:
		s.cancel(errClientEnded)
	}
}

// finishUpload passes the end of the server's stream on to the client, and waits for the
// end of the client's. The error is why the session ends.
func (s *session) finishUpload(ctx context.Context) error {
	if s.server.Transport().Carrier != mtwire.TCP || s.downloads.unsent() > 0 {
		return io.EOF
	}
	limited, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	e := &s.ends
	e.mu.Lock()
	e.server = true // the client may end before CloseWrite returns
	e.mu.Unlock()
	if s.client.CloseWrite(limited) != nil {
		return io.EOF
	}
	e.mu.Lock()
	uploaded := e.uploaded
	e.mu.Unlock()
	if uploaded || s.uploads.failure() != nil {
		return io.EOF
	}
	s.await(halfCloseTime)
	<-ctx.Done()
	return context.Cause(ctx)
}

// await ends the session when nothing has moved for as long, from now on.
func (s *session) await(patience time.Duration) {
	e := &s.ends
	e.mu.Lock()
	defer e.mu.Unlock()
	e.patience = patience
	if e.timer == nil {
		e.timer = time.AfterFunc(s.patience(), s.expire)
	} else {
		e.timer.Reset(s.patience())
	}
}

// expire ends a session in which nothing has moved.
func (s *session) expire() {
	s.ends.mu.Lock()
	ended := s.ends.server
	s.ends.mu.Unlock()
	if ended {
		s.cancel(io.EOF)
	} else {
		s.cancel(errClientEnded)
	}
}

// patience is how long nothing may move after an end. Under ends.mu.
func (s *session) patience() time.Duration {
	return s.ends.patience + seconds(s.uploads.unsent()+s.downloads.unsent(), lingerRate)
}

// progress notes that a side has taken a packet.
func (s *session) progress() {
	s.relay.touch(s)
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	if s.ends.timer != nil {
		s.ends.timer.Reset(s.patience())
	}
}

func (s *session) stopTimer() {
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	if s.ends.timer != nil {
		s.ends.timer.Stop()
	}
}
