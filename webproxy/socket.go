package webproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// socket moves a lane's batches over a WebSocket, at a relay or a client.
type socket struct {
	mux  *mux
	lane *lane
	ws   *websocket.Conn
	// pinger is of run: it fires when nothing was sent for a while.
	pinger *time.Timer
	// room waits until there is memory for a message of n bytes.
	room func(n int) bool
}

// pingInterval is how long nothing is sent before a ping, and how long the answer may
// take. Relays and clients ping: each of them has to notice that the other is gone.
const pingInterval = 25 * time.Second

// lingerTime is how long the goroutine that writes waits for more. Then it ends, and the lane
// starts another one: its stack would be a large part of what an idle stream takes.
const lingerTime = 200 * time.Millisecond

var messagePool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// run moves batches both ways until ctx, the socket or the lane ends, and returns the
// cause, or nil if the lane's stream is closed.
func (s *socket) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.ws.CloseNow() })()
	w := &socketWriter{socket: s, over: make(chan struct{}), ended: make(chan error, 1)}
	s.pinger = time.AfterFunc(math.MaxInt64, s.pinged)
	s.pinger.Reset(pingInterval)
	defer s.pinger.Stop()
	go w.run()
	err := s.read()
	close(w.over)
	s.ws.CloseNow()
	if !s.unpark() && <-w.ended == nil {
		return nil
	}
	return err
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

// read receives messages until the socket ends.
func (s *socket) read() error {
	s.ws.SetReadLimit(MaxBatchLength)
	for {
		kind, message, err := s.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary {
			s.ws.Close(websocket.StatusUnsupportedData, "")
			return violation("a text message")
		}
		if err := s.receive(message); err != nil {
			return err
		}
	}
}

// receive applies a message.
func (s *socket) receive(message io.Reader) error {
	b := messagePool.Get().(*bytes.Buffer)
	defer func() {
		if b.Reset(); b.Cap() <= 256<<10 {
			messagePool.Put(b)
		}
	}()
	if err := s.readMessage(b, message); err != nil {
		return err
	}
	if !s.room(b.Len()) {
		return errors.New("the streams' bytes are not read")
	}
	defer s.mux.unreserve(b.Len())
	err := s.mux.receive(s.lane.id, b.Bytes(), false)
	if errors.Is(err, ErrProtocol) {
		s.ws.Close(websocket.StatusPolicyViolation, "")
	}
	return err
}

// readMessage reads a message. Like a body, it has 30 seconds for each 256 KiB: its
// memory is not charged before it is whole, and pings do not find out that it stops
// between its fragments.
func (s *socket) readMessage(b *bytes.Buffer, message io.Reader) error {
	const step = 256 << 10
	message = moving{message, s.mux}
	timer := time.AfterFunc(ioTime, func() { s.ws.CloseNow() })
	defer timer.Stop()
	for {
		if _, err := io.CopyN(b, message, step); err == io.EOF {
			return nil
		} else if err != nil && !timer.Stop() {
			return errors.New("a message that began does not go on")
		} else if err != nil {
			return err
		}
		timer.Reset(ioTime)
	}
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
		// The last frame is sent. The peer closes the socket, or has done so.
		w.ws.Close(websocket.StatusNormalClosure, "")
	}
	w.ws.CloseNow()
	w.ended <- err
}

// write sends the lane's frames, a chunk in each message. It returns nil if the
// lane's stream is closed and all are sent.
func (w *socketWriter) write() error {
	linger := time.NewTimer(lingerTime)
	defer linger.Stop()
	for {
		for _, part := range w.mux.take(w.lane, 1) {
			err := w.send(part)
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

// send writes a message, and has 30 seconds for it.
func (w *socketWriter) send(part []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), ioTime)
	defer cancel()
	return w.ws.Write(ctx, websocket.MessageBinary, part)
}

// pinged pings the peer, to which nothing was sent for a while, and ends the socket if it
// does not answer.
func (s *socket) pinged() {
	s.pinger.Reset(pingInterval)
	ctx, cancel := context.WithTimeout(context.Background(), pingInterval)
	defer cancel()
	if s.ws.Ping(ctx) != nil {
		s.ws.CloseNow()
		s.pinger.Stop() // run may have stopped it before it was set again
	}
}

// first receives a lane's first message, which begins with OPEN.
func (s *socket) first() error {
	ctx, cancel := context.WithTimeout(context.Background(), ioTime)
	defer cancel()
	s.ws.SetReadLimit(MaxBatchLength)
	kind, message, err := s.ws.Reader(ctx)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := s.readMessage(&b, message); err != nil {
		return err
	}
	f, _, err := ParseFrame(b.Bytes())
	if err != nil || kind != websocket.MessageBinary || f.Type != OpenFrame {
		return violation("a lane that does not begin with OPEN")
	}
	return s.receive(&b)
}

// errStreamLost returns the error of a stream whose socket was lost. If the peer has
// closed it in order, that is the stream's end.
func errStreamLost(err error) error {
	if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}
