package webproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// socket moves a lane's batches over a WebSocket, at a relay or a client.
type socket struct {
	mux  *mux
	lane *lane
	ws   *websocket.Conn
	// ping is whether a peer is pinged to which nothing is sent, and gone if it does not
	// answer.
	ping bool
	// room waits until there is memory for a message of n bytes.
	room func(n int) bool
}

// pingInterval is how long nothing is sent before a ping, and how long the answer may
// take. Relays and clients ping: each of them has to notice that the other is gone.
const pingInterval = 25 * time.Second

var messagePool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// run moves batches both ways until the socket or the lane ends, and returns the
// cause, or nil if the lane's stream is closed.
func (s *socket) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	written := make(chan error, 1)
	go func() {
		err := s.write(ctx)
		if err == nil {
			// The last frame is sent. The peer closes the socket, or has done so.
			s.ws.Close(websocket.StatusNormalClosure, "")
		}
		s.ws.CloseNow()
		written <- err
	}()
	err := s.read(ctx)
	cancel()
	s.ws.CloseNow()
	if writeErr := <-written; writeErr == nil {
		return nil
	}
	return err
}

// read receives messages until the socket ends.
func (s *socket) read(ctx context.Context) error {
	s.ws.SetReadLimit(MaxBatchLength)
	for {
		kind, message, err := s.ws.Reader(ctx)
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

// write sends the lane's frames, a chunk in each message. It returns nil if the
// lane's stream is closed and all are sent.
func (s *socket) write(ctx context.Context) error {
	idle := time.NewTimer(pingInterval)
	defer idle.Stop()
	for {
		for _, part := range s.mux.take(s.lane, 1) {
			err := s.send(ctx, part)
			s.mux.sent(len(part))
			recycle(part)
			if err != nil {
				return err
			}
			idle.Reset(pingInterval)
		}
		s.mux.mu.Lock()
		more, done := !s.lane.box.empty(), s.lane.done()
		s.mux.mu.Unlock()
		switch {
		case more:
			continue
		case done:
			return nil
		}
		select {
		case <-s.lane.wake:
		case <-idle.C:
			if s.ping {
				go s.pinged(ctx)
			}
			idle.Reset(pingInterval)
		case <-s.mux.ended:
			return ErrSessionEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send writes a message, and has 30 seconds for it.
func (s *socket) send(ctx context.Context, part []byte) error {
	ctx, cancel := context.WithTimeout(ctx, ioTime)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageBinary, part)
}

// pinged pings the peer, and ends the socket if it does not answer.
func (s *socket) pinged(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingInterval)
	defer cancel()
	if s.ws.Ping(ctx) != nil {
		s.ws.CloseNow()
	}
}

// first receives a lane's first message, which begins with OPEN.
func (s *socket) first(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ioTime)
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
