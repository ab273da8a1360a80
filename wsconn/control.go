//go:build !js

package wsconn

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// The opcodes of control frames.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.5
const (
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

// controls has the control frames that are to be written between two data frames.
// The reader of a connection must not wait until they are: while a data frame is
// blocked because the peer does not read, the peer's next frames must still be read.
//
// There is room for one pong and one ping. A pong takes the place of one that was
// not written yet, as the specification allows.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3
type controls struct {
	waiting atomic.Bool // there is a frame

	mu      sync.Mutex
	pong    []byte // whole frames; empty if there is none
	ping    []byte
	running bool // a goroutine is about to write them
	ended   bool // by end
	writers sync.WaitGroup

	pingSent time.Time // zero while the ping waits
}

// answerPing has a pong with the ping's payload written behind the current data
// frame. It returns false: the library is not to write one.
func (s *stream) answerPing(payload []byte) bool {
	s.controls.mu.Lock()
	defer s.controls.mu.Unlock()
	s.controls.pong = appendControlFrame(s.controls.pong[:0], opPong, payload, s.masked)
	s.startControls()
	return false
}

// startControls starts a goroutine that writes the waiting frames, unless there is
// one. The goroutine ends when they are written, or when the current Write is to
// write them at its end. controls.mu is held.
func (s *stream) startControls() {
	c := &s.controls
	c.waiting.Store(true)
	if c.running || c.ended {
		return
	}
	c.running = true
	c.writers.Go(func() {
		s.lockWrites()
		defer s.wmu.Unlock()
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
		s.writeControls()
	})
}

// writeControls writes the waiting control frames, except inside a data frame. If
// the write deadline has passed before the first byte, they go on waiting. wmu is
// held.
func (s *stream) writeControls() {
	for s.controls.waiting.Load() && !s.inFrame && !s.closeSent && s.werr == nil {
		pong, ping := s.controls.take()
		if len(pong)+len(ping) == 0 {
			return
		}
		n, err := s.Conn.Write(append(pong, ping...))
		switch {
		case err == nil:
			s.controls.sent(ping)
		case n == 0 && netx.IsTimeout(err):
			s.controls.putBack(pong, ping)
			return
		default:
			s.werr = err
		}
	}
}

// take returns the waiting frames, and removes them.
func (c *controls) take() (pong, ping []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting.Store(false)
	pong, ping = c.pong, c.ping
	c.pong, c.ping = nil, nil
	if c.ended {
		return nil, nil
	}
	return pong, ping
}

// putBack makes frames wait again, unless newer ones wait.
func (c *controls) putBack(pong, ping []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pong) == 0 {
		c.pong = pong
	}
	if len(c.ping) == 0 {
		c.ping = ping
	}
	c.waiting.Store(true)
}

// sent notes the time of a ping that was written, if there was one.
func (c *controls) sent(ping []byte) {
	if len(ping) > 0 {
		c.mu.Lock()
		c.pingSent = time.Now()
		c.mu.Unlock()
	}
}

// sincePing returns the time since the ping of the last sendPing was written, or false
// if it waits.
func (c *controls) sincePing() (since time.Duration, sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.pingSent), !c.pingSent.IsZero()
}

// retryControls starts writing frames that a deadline made wait.
func (s *stream) retryControls() {
	if s.controls.waiting.Load() {
		s.controls.mu.Lock()
		s.startControls()
		s.controls.mu.Unlock()
	}
}

// end drops the waiting frames and those to come.
func (c *controls) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
}

// appendControlFrame appends a whole control frame to dst. payload has at most
// 125 bytes.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.2
func appendControlFrame(dst []byte, opcode byte, payload []byte, masked bool) []byte {
	dst = append(dst, 0x80|opcode)
	if !masked {
		return append(append(dst, byte(len(payload))), payload...)
	}
	var key [4]byte
	rand.Read(key[:])
	dst = append(append(dst, 0x80|byte(len(payload))), key[:]...)
	for i, b := range payload {
		dst = append(dst, b^key[i%4])
	}
	return dst
}

// isCloseFrame reports whether p begins with a close frame.
func isCloseFrame(p []byte) bool { return len(p) > 0 && p[0] == 0x80|opClose }

// sendPing has a ping written behind the current data frame.
func (s *stream) sendPing(payload []byte) {
	s.controls.mu.Lock()
	defer s.controls.mu.Unlock()
	s.controls.pingSent = time.Time{}
	s.controls.ping = appendControlFrame(s.controls.ping[:0], opPing, payload, s.masked)
	s.startControls()
}
