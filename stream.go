package mtwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
)

// stream carries packets in one of the four framings over a byte stream: TCP, FakeTLS
// or WebSocket, with obfuscation or without.
//
// Each direction has its own mutex and keeps its first error. When a context ends, the
// receiving direction loses nothing and keeps no error.
type stream struct {
	conn net.Conn
	obf  *obfuscation.Conn // conn, or nil if it is none
	in   receiver
	out  sender

	draining atomic.Bool // nothing more is received
}

type receiver struct {
	mu       netx.Mutex
	deadline netx.Deadline
	source   readbuf.Reader
	decoder  frame.Decoder
	rest     incomplete
	err      error
}

type sender struct {
	mu       netx.Mutex
	deadline netx.Deadline
	encoder  frame.Encoder
	header   string // of the protocol; sent before the first packet
	err      error
}

// newStream returns a stream that carries packets on conn.
func newStream(conn net.Conn, protocol frame.Protocol, side frame.Side, maxLength int, limits *packetLimits, rand io.Reader) *stream {
	s := &stream{conn: conn}
	s.obf, _ = conn.(*obfuscation.Conn)
	s.in.deadline.Rebind(conn.SetReadDeadline)
	s.out.deadline.Rebind(conn.SetWriteDeadline)
	s.in.source.Reset(conn)
	s.in.rest.limits = limits
	if maxLength <= 0 {
		maxLength = frame.DefaultMaxLength
	}
	s.in.source.Max = maxLength + freePacket // with the start of the next packet
	peer := frame.Server
	if side == frame.Server {
		peer = frame.Client
	}
	s.in.decoder = frame.Decoder{Protocol: protocol, From: peer, MaxLength: maxLength}
	s.out.encoder = frame.Encoder{Protocol: protocol, From: side, Rand: rand}
	return s
}

// receive reads the next packet into p. Idle connections wait in receive, so it
// needs little stack: the packet is in the caller's frame.
func (s *stream) receive(ctx context.Context, p *Packet) error {
	if err := s.in.mu.Lock(ctx); err != nil {
		return receiveError(err)
	}
	defer s.in.mu.Unlock()
	if s.in.err != nil {
		return s.in.err
	}
	if err := s.in.deadline.Watch(ctx); err != nil {
		return receiveError(err)
	}
	defer s.in.deadline.Unwatch()
	for {
		n, err := s.parse(p)
		if err == nil {
			s.in.source.Consume(n)
			if s.in.rest.waited > 0 || s.in.rest.charged > 0 {
				s.packetComplete()
			}
			if p.Kind == frame.KindNOP {
				continue
			}
			return p.Err()
		}
		if err == frame.ErrIncomplete {
			if s.draining.Load() {
				return s.endReceiving(ErrShutdown)
			}
			if len(s.in.source.Bytes()) == 0 {
				err = s.in.source.Fill()
			} else {
				err = s.fillRest(ctx)
			}
			if err == nil {
				continue
			}
			if netx.IsTimeout(err) && !s.draining.Load() {
				return receiveError(netx.Cause(ctx, err))
			}
		}
		if netx.IsTimeout(err) {
			err = ErrShutdown
		}
		return s.endReceiving(err)
	}
}

//go:noinline
func (s *stream) parse(p *Packet) (n int, err error) {
	*p, n, err = s.in.decoder.Parse(s.in.source.Bytes())
	return n, err
}

func (s *stream) endReceiving(err error) error {
	if err != io.EOF {
		err = receiveError(err)
	}
	s.in.err = err
	if code := (*TransportError)(nil); errors.As(err, &code) {
		// The code was in a WebSocket's close frame. The error is returned once, so
		// that a caller that continues after it reaches the end.
		s.in.err = io.EOF
	}
	s.in.source.Release()
	s.in.rest.close()
	return err
}

func receiveError(err error) error { return fmt.Errorf("receive: %w", err) }

func (s *stream) send(ctx context.Context, p *Packet) error {
	if err := s.beginSending(ctx); err != nil {
		return err
	}
	defer s.endSending()
	env, err := s.out.encoder.Envelope(p)
	if err != nil {
		return fmt.Errorf("send: %w", err) // the connection stays usable
	}
	return s.write(ctx, env.Head(), env.Body(p), env.Tail(p))
}

// sendHeader sends the header or init payload, unless a packet was sent with it.
func (s *stream) sendHeader(ctx context.Context) error {
	if err := s.beginSending(ctx); err != nil {
		return err
	}
	defer s.endSending()
	return s.write(ctx, nil, nil, nil)
}

func (s *stream) beginSending(ctx context.Context) error {
	if err := s.out.mu.Lock(ctx); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	err := s.out.err
	if err == nil {
		if err = s.out.deadline.Watch(ctx); err == nil {
			return nil
		}
		err = fmt.Errorf("send: %w", err)
	}
	s.out.mu.Unlock()
	return err
}

func (s *stream) endSending() {
	s.out.deadline.Unwatch()
	s.out.mu.Unlock()
}

// write makes one Write of the header, if it was not sent yet, and the pieces. Any
// error is final, because the number of bytes that the peer received is unknown.
func (s *stream) write(ctx context.Context, head, body, tail []byte) error {
	var err error
	if s.obf != nil {
		_, err = s.obf.WritePieces(head, body, tail)
	} else if total := len(s.out.header) + len(head) + len(body) + len(tail); total > 0 {
		scratch := bufpool.Get(total)
		b := append(scratch.B[:0], s.out.header...)
		b = append(append(append(b, head...), body...), tail...)
		_, err = s.conn.Write(b)
		bufpool.Put(scratch)
		s.out.header = ""
	}
	if err == nil {
		return nil
	}
	s.out.err = fmt.Errorf("send: %w", err)
	if netx.IsTimeout(err) {
		s.out.err = fmt.Errorf("send: %w", errSendInterrupted)
		return fmt.Errorf("send: %w", netx.Cause(ctx, err))
	}
	return s.out.err
}

// closeWrite ends the sending direction, if the connection below can.
func (s *stream) closeWrite(ctx context.Context) error {
	if err := s.beginSending(ctx); err != nil {
		return err
	}
	defer s.endSending()
	err := netx.CloseWrite(s.conn)
	if !errors.Is(err, errors.ErrUnsupported) {
		s.out.err = fmt.Errorf("send: after CloseWrite: %w", net.ErrClosed)
	}
	if err != nil {
		return fmt.Errorf("close the stream: %w", netx.Cause(ctx, err))
	}
	return nil
}

// errSendInterrupted is the final error after a Send whose context ended. It is no
// context's error, so that a loop that sends again after a timeout ends.
var errSendInterrupted = fmt.Errorf("an earlier Send was interrupted inside a packet: %w", net.ErrClosed)

// release ends the stream's registrations with contexts and its share of the memory
// for incomplete packets, which may outlive it.
func (s *stream) release() {
	s.in.deadline.Close()
	s.out.deadline.Close()
	s.in.rest.close()
}
