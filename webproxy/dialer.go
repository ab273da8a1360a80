package webproxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// defaultIdleTimeout is shorter than the two minutes for which a relay keeps a
	// session without requests, and longer than a client takes to connect anew.
	defaultIdleTimeout = 30 * time.Second

	// defaultSessionStreams leaves room below the 128 streams that the official relay
	// allows a session, because it counts a stream until it has received CLOSE.
	//
	// Source: the official relay's internal/config
	defaultSessionStreams = 100

	// joinTime is how long others wait for a session that is being made. One that takes
	// longer may hang, and would as long as streams come to wait for it.
	joinTime = 10 * time.Second
)

// Dialer opens streams to the relay of a link, in sessions that they share. The first
// stream makes a session, those that are opened in the next ten seconds wait for it, and
// all others use it. A session that has ended is replaced by the next Open; its streams have its
// error.
//
// All methods may be called concurrently. The fields must not change after the first
// Open, and a Dialer must not be copied then.
type Dialer struct {
	// Link is the relay's.
	Link Link

	// Config is for all sessions. Nil means a config of zeros.
	Config *DialConfig

	// IdleTimeout is how long a session goes on after its last stream was closed.
	// Default: 30 s. A negative one ends it with its last stream.
	IdleTimeout time.Duration

	// SessionStreams limits the streams of a session. Beyond it there is another
	// session. Default: 100.
	SessionStreams int

	// Ended is called when the last session has ended, in any goroutine. Default:
	// nothing.
	Ended func()

	mu       sync.Mutex
	sessions []*sharedSession // the oldest first
}

// sharedSession is a session of a Dialer.
type sharedSession struct {
	cancel context.CancelFunc // of its Dial
	begun  time.Time
	ready  chan struct{} // closed when client or err is set
	client *Client
	err    error

	// The mutex of Dialer guards these.
	streams int         // that are open, or wait for ready
	idle    *time.Timer // since the last stream was closed; nil while there is one
	uses    int         // how often idle was set
	full    bool        // its stream ids are used up
	ended   bool        // it is in no list
}

// Open opens a stream: see Client.Open. ctx limits Open, and the Dial of the session if
// no other Open waits for that.
func (d *Dialer) Open(ctx context.Context) (*Conn, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, fresh := d.acquire(ctx)
		conn, err := s.open(ctx)
		if err == nil {
			conn.closer = func() { d.release(s) }
			return conn, nil
		}
		again := !fresh && d.replaces(s, err)
		d.release(s)
		if !again {
			return nil, err
		}
	}
}

// replaces reports whether another session takes the place of s, whose open has returned
// err. A WebSocket for a stream of a session that the relay has forgotten gets a 404.
func (d *Dialer) replaces(s *sharedSession, err error) bool {
	var status *StatusError
	switch {
	case s.err != nil:
		return false
	case errors.Is(err, ErrNoStreamID):
		d.mu.Lock()
		s.full = true
		d.mu.Unlock()
		return true
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		s.client.fail(err)
	}
	return s.client.Err() != nil
}

// acquire returns a session that has room for another stream, and takes it. fresh
// reports whether the session is being made.
func (d *Dialer) acquire(ctx context.Context) (s *sharedSession, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	most := d.SessionStreams
	if most <= 0 {
		most = defaultSessionStreams
	}
	for _, s := range d.sessions {
		if s.full || s.streams >= most || s.client != nil && s.client.Err() != nil ||
			s.client == nil && time.Since(s.begun) > joinTime {
			continue
		}
		if s.streams++; s.idle != nil {
			s.idle.Stop()
			s.idle = nil
		}
		return s, s.client == nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s = &sharedSession{cancel: cancel, begun: time.Now(), ready: make(chan struct{}), streams: 1}
	d.sessions = append(d.sessions, s)
	go d.run(ctx, s)
	return s, true
}

// run makes a session, and cleans up at its end.
func (d *Dialer) run(ctx context.Context, s *sharedSession) {
	client, err := Dial(ctx, d.Link, d.Config)
	d.mu.Lock()
	s.client, s.err = client, err
	d.mu.Unlock()
	if err != nil {
		d.remove(s)
	}
	close(s.ready)
	if err != nil {
		return
	}
	select {
	case <-client.ended:
	case <-ctx.Done(): // nothing waits for the session any more
	}
	d.remove(s)
	_ = client.Close()
}

// open opens a stream when the session is ready.
func (s *sharedSession) open(ctx context.Context) (*Conn, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.client.Open(ctx)
}

// release gives back a stream. A session without streams ends, now or later.
func (d *Dialer) release(s *sharedSession) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.streams--; s.streams > 0 || s.ended {
		return
	}
	timeout := d.IdleTimeout
	if timeout == 0 {
		timeout = defaultIdleTimeout
	}
	if s.client == nil || timeout < 0 {
		d.removeLocked(s)
		s.cancel()
		return
	}
	s.uses++
	uses := s.uses
	s.idle = time.AfterFunc(timeout, func() { d.expire(s, uses) })
}

// expire ends a session that has had no stream since its timer was set for the uses-th
// time.
func (d *Dialer) expire(s *sharedSession, uses int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.idle != nil && s.uses == uses {
		d.removeLocked(s)
		s.cancel()
	}
}

// remove takes a session out of the list.
func (d *Dialer) remove(s *sharedSession) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.removeLocked(s)
}

func (d *Dialer) removeLocked(s *sharedSession) {
	if s.ended {
		return
	}
	s.ended = true
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	i := slices.Index(d.sessions, s)
	d.sessions = slices.Delete(d.sessions, i, i+1)
	if len(d.sessions) == 0 && d.Ended != nil {
		go d.Ended()
	}
}

// Sessions returns the number of sessions, with those that are being made.
func (d *Dialer) Sessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Close ends all sessions, whose streams have net.ErrClosed then. It does not wait. A
// later Open makes a new session.
func (d *Dialer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.sessions) > 0 {
		s := d.sessions[0]
		d.removeLocked(s)
		s.cancel()
	}
	return nil
}
