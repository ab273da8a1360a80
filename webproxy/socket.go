package webproxy

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/coder/websocket"
	"github.com/mtwire/mtwire/internal/wsstream"
)

// socket moves a lane's batches over a WebSocket, at a relay or a client.
type socket struct {
	mux  *mux
	lane *lane
	ws   webSocket
	// pinger fires when nothing was sent for a while.
	pinger *time.Timer
	writer *socketWriter
}

// webSocket is a WebSocket of one of the two sides.
type webSocket interface {
	// send sends a message, and has 30 seconds for it.
	send(message []byte) error
	// ping sends a ping. It reports false if there is no answer to it within pingInterval, or
	// to the one before.
	ping() bool
	// finish sends a close frame behind the last message. The peer closes the WebSocket, or has
	// done so.
	finish()
	closeNow()
}

// pingInterval is how long nothing is sent before a ping, and how long the answer may
// take. Relays and clients ping: each of them has to notice that the other is gone.
const pingInterval = 25 * time.Second

// lingerTime is how long the goroutine that writes waits for more. Then it ends, and the lane
// starts another one: its stack would be a large part of what an idle stream takes.
const lingerTime = 200 * time.Millisecond

// start starts to send the lane's frames, and pings.
func (s *socket) start() {
	s.writer = &socketWriter{socket: s, over: make(chan struct{}), ended: make(chan error, 1)}
	s.pinger = time.AfterFunc(math.MaxInt64, s.pinged)
	s.pinger.Reset(pingInterval)
	go s.writer.run()
}

// stop ends what start has started, after the end of the WebSocket. It reports whether all
// frames were sent, and none will follow: the lane's stream is closed.
func (s *socket) stop() (finished bool) {
	close(s.writer.over)
	s.ws.closeNow()
	finished = !s.unpark() && <-s.writer.ended == nil
	s.pinger.Stop()
	return finished
}

// unpark reports whether the lane's frames have no goroutine that writes them. None is
// started afterwards.
func (s *socket) unpark() bool {
	s.mux.mu.Lock()
	defer s.mux.mu.Unlock()
	parked := s.lane.parked != nil
	s.lane.parked = nil
	return parked
}

// socketWriter writes a socket's messages, in a goroutine while there are some.
type socketWriter struct {
	*socket
	over  chan struct{} // closed when nothing is read any more
	ended chan error    // gets nil if the lane's stream is closed, and all is sent
}

// What ends a writer besides the socket's own errors.
var (
	errParked = errors.New("nothing is sent for a while")
	errOver   = errors.New("the socket has ended")
)

// run sends what there is, until there is nothing for a while, or nothing more.
func (w *socketWriter) run() {
	err := w.write()
	if err == errParked {
		return
	}
	if err == nil {
		w.ws.finish()
	} else {
		w.ws.closeNow()
	}
	w.ended <- err
}

// write sends the lane's frames, a chunk in each message. It returns nil if the
// lane's stream is closed and all are sent.
func (w *socketWriter) write() error {
	linger := time.NewTimer(lingerTime)
	defer linger.Stop()
	for {
		for _, part := range w.mux.take(w.lane, 1) {
			err := w.ws.send(part)
			w.mux.sent(len(part))
			recycle(part)
			if err != nil {
				return err
			}
			w.pinger.Reset(pingInterval)
			linger.Reset(lingerTime)
		}
		w.mux.mu.Lock()
		more, done := !w.lane.box.empty(), w.lane.done()
		w.mux.mu.Unlock()
		switch {
		case more:
			continue
		case done:
			return nil
		}
		select {
		case <-w.lane.wake:
		case <-linger.C:
			if w.park() {
				return errParked
			}
		case <-w.mux.ended:
			return ErrSessionEnded
		case <-w.over:
			return errOver
		}
	}
}

// park has the lane start the writer again when there is something to send. It reports false
// if that is now.
func (w *socketWriter) park() bool {
	m := w.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil || !w.lane.box.empty() || w.lane.done() {
		return false
	}
	select {
	case <-w.over: // unpark may have been called
		return false
	default:
	}
	select {
	case <-w.lane.wake: // the same is looked at now
	default:
	}
	w.lane.parked = w.run
	return true
}

// pinged pings the peer, to which nothing was sent for a while, and ends the socket if it
// does not answer.
func (s *socket) pinged() {
	s.pinger.Reset(pingInterval)
	if !s.ws.ping() {
		s.ws.closeNow()
		s.pinger.Stop() // run may have stopped it before it was set again
	}
}

// errStreamLost returns the error of a stream whose socket was lost. If the peer has
// closed it in order, that is the stream's end.
func errStreamLost(err error) error {
	if closeStatus(err) == wsstream.StatusNormal {
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// closeStatus returns the status of the close frame that err is for, or -1.
func closeStatus(err error) int {
	var closed *wsstream.CloseError
	if errors.As(err, &closed) {
		return closed.Status
	}
	return int(websocket.CloseStatus(err))
}
