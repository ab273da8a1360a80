package webproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// clientSocket moves a lane's batches over a WebSocket at a client.
type clientSocket struct {
	socket
	*websocket.Conn
	received atomic.Uint64 // grows while messages arrive
}

var messagePool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func newClientSocket(m *mux, l *lane, conn *websocket.Conn) *clientSocket {
	s := &clientSocket{socket: socket{mux: m, lane: l}, Conn: conn}
	s.ws = s
	return s
}

// run moves batches both ways until ctx, the socket or the lane ends, and returns the
// cause, or nil if the lane's stream is closed.
func (s *clientSocket) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.closeNow)()
	s.start()
	err := s.read()
	if s.stop() {
		return nil
	}
	return err
}

// read receives messages until the socket ends.
func (s *clientSocket) read() error {
	s.SetReadLimit(MaxBatchLength)
	for {
		kind, message, err := s.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary {
			s.Close(websocket.StatusUnsupportedData, "")
			return violation("a text message")
		}
		if err := s.receive(message); err != nil {
			return err
		}
	}
}

// receive applies a message.
func (s *clientSocket) receive(message io.Reader) error {
	b := messagePool.Get().(*bytes.Buffer)
	defer func() {
		if b.Reset(); b.Cap() <= 256<<10 {
			messagePool.Put(b)
		}
	}()
	if err := s.readMessage(b, message); err != nil {
		return err
	}
	s.mux.charge(b.Len())
	defer s.mux.unreserve(b.Len())
	err := s.mux.receive(s.lane.id, b.Bytes(), false)
	if errors.Is(err, ErrProtocol) {
		s.Close(websocket.StatusPolicyViolation, "")
	}
	return err
}

// readMessage reads a message. It has 30 seconds for each 64 KiB: pings do not find out that
// it stops between its fragments.
func (s *clientSocket) readMessage(b *bytes.Buffer, message io.Reader) error {
	message = arriving{message, s}
	timer := time.AfterFunc(ioTime, s.closeNow)
	defer timer.Stop()
	for {
		if _, err := io.CopyN(b, message, messageStep); err == io.EOF {
			return nil
		} else if err != nil && !timer.Stop() {
			return errStopped
		} else if err != nil {
			return err
		}
		timer.Reset(ioTime)
	}
}

// arriving is a message whose parts show that the relay is there.
type arriving struct {
	io.Reader
	socket *clientSocket
}

func (a arriving) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p[:min(len(p), 16<<10)]) // which returns when all has come
	if n > 0 {
		a.socket.received.Add(1)
		a.socket.mux.moved.Add(1)
	}
	return n, err
}

func (s *clientSocket) send(message []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), ioTime)
	defer cancel()
	return s.Write(ctx, websocket.MessageBinary, message)
}

// ping also takes bytes that come meanwhile for an answer: its own is behind all that the relay
// has to send.
func (s *clientSocket) ping() bool {
	before := s.received.Load()
	ctx, cancel := context.WithTimeout(context.Background(), pingInterval)
	defer cancel()
	return s.Ping(ctx) == nil || s.received.Load() != before
}

func (s *clientSocket) finish() { s.Close(websocket.StatusNormalClosure, "") }

func (s *clientSocket) closeNow() { s.CloseNow() }
