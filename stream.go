package mtwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
)

// stream is packets in one of the four framings on a byte stream: TCP,
// FakeTLS or WebSocket, obfuscated or not.
//
// Each direction has its own mutex and keeps its first error for ever. The end of
// a context is not such an error for receiving, where it loses nothing.
type stream struct {
	conn net.Conn
	obf  *obfuscation.Conn // conn, if that is what it is
	in   receiver
	out  sender
}

type receiver struct {
	mu       netx.Mutex
	deadline netx.Deadline
	source   readbuf.Reader
	decoder  frame.Decoder
	err      error
}

type sender struct {
	mu       netx.Mutex
	deadline netx.Deadline
	encoder  frame.Encoder
	header   string // of the protocol, in front of the first packet
	err      error
}

// newStream returns a stream that carries packets on conn.
func newStream(conn net.Conn, protocol frame.Protocol, side frame.Side, maxLength int, rand io.Reader) *stream {
	s := &stream{conn: conn}
	s.obf, _ = conn.(*obfuscation.Conn)
	s.in.deadline.Rebind(conn.SetReadDeadline)
	s.out.deadline.Rebind(conn.SetWriteDeadline)
	s.in.source.Reset(conn)
	peer := frame.Server
	if side == frame.Server {
		peer = frame.Client
	}
	s.in.decoder = frame.Decoder{Protocol: protocol, From: peer, MaxLength: maxLength}
	s.out.encoder = frame.Encoder{Protocol: protocol, From: side, Rand: rand}
	return s
}

// receive reads the next packet into p, its caller's result: connections wait in
// here, and their stacks should be small.
func (s *stream) receive(ctx context.Context, p *Packet) error {
	if err := s.in.mu.Lock(ctx); err != nil {
		return inReceive(err)
	}
	defer s.in.mu.Unlock()
	if s.in.err != nil {
		return s.in.err
	}
	if err := s.in.deadline.Watch(ctx); err != nil {
		return inReceive(err)
	}
	defer s.in.deadline.Unwatch()
	for {
		n, err := s.parse(p)
		if err == nil {
			s.in.source.Consume(n)
			if p.Kind == frame.KindNOP {
				continue
			}
			return p.Err()
		}
		if err == frame.ErrIncomplete {
			if err = s.in.source.Fill(); err == nil {
				continue
			}
			if netx.IsTimeout(err) {
				return inReceive(netx.Cause(ctx, err))
			}
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
		err = inReceive(err)
	}
	s.in.err = err
	if told := (*TransportError)(nil); errors.As(err, &told) {
		// It was in a WebSocket's close frame. A caller that continues after it
		// must come to an end.
		s.in.err = io.EOF
	}
	s.in.source.Release()
	return err
}

func inReceive(err error) error { return fmt.Errorf("receive: %w", err) }

func (s *stream) send(ctx context.Context, p *Packet) error {
	if err := s.beginSending(ctx); err != nil {
		return err
	}
	defer s.endSending()
	env, err := s.out.encoder.Envelope(p)
	if err != nil {
		return fmt.Errorf("send: %w", err) // of the packet, not of the connection
	}
	return s.write(ctx, env.Head(), env.Body(p), env.Tail(p))
}

// sendHeader sends what announces the transport, if no packet has done so.
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

// write makes one Write of the pieces, with the protocol's header before the
// first. Any error is final: how much the peer has received is not known.
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
	if err != nil {
		s.out.err = fmt.Errorf("send: %w", netx.Cause(ctx, err))
	}
	return s.out.err
}

// release drops what ties the stream to contexts that may outlive it.
func (s *stream) release() {
	s.in.deadline.Close()
	s.out.deadline.Close()
}
