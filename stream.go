package mtwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
)

// stream is packets in one of the four framings on a byte stream: TCP,
// FakeTLS or WebSocket, obfuscated or not.
//
// Each direction has its own lock and keeps its first error for ever. A
// context that ends is not such an error for receiving, where it loses
// nothing.
type stream struct {
	conn net.Conn
	obf  *obfuscation.Conn // conn, if that is what it is
	in   receiver
	out  sender
}

type receiver struct {
	sync.Mutex
	deadline deadline
	source   readbuf.Reader
	decoder  frame.Decoder
	err      error
}

type sender struct {
	sync.Mutex
	deadline deadline
	encoder  frame.Encoder
	header   string // of the protocol, in front of the first packet
	err      error
}

// start makes s ready to carry packets on conn, of which the source may have
// read a part.
func (s *stream) start(conn net.Conn, protocol frame.Protocol, side frame.Side, maxLength int, rand io.Reader) {
	s.conn = conn
	s.obf, _ = conn.(*obfuscation.Conn)
	s.in.deadline.retarget(conn.SetReadDeadline)
	s.out.deadline.retarget(conn.SetWriteDeadline)
	s.in.source.Reset(conn)
	peer := frame.Server
	if side == frame.Server {
		peer = frame.Client
	}
	s.in.decoder = frame.Decoder{Protocol: protocol, From: peer, MaxLength: maxLength}
	s.out.encoder = frame.Encoder{Protocol: protocol, From: side, Rand: rand}
}

func (s *stream) receive(ctx context.Context) (Packet, error) {
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.err != nil {
		return Packet{}, s.in.err
	}
	if err := s.in.deadline.follow(ctx); err != nil {
		return Packet{}, fmt.Errorf("receive: %w", err)
	}
	for {
		p, n, err := s.in.decoder.Parse(s.in.source.Bytes())
		switch {
		case err == nil:
			s.in.source.Consume(n)
			if p.Kind == frame.KindNOP {
				continue
			}
			return p, p.Err()
		case err != frame.ErrIncomplete:
		default:
			if err = s.in.source.Fill(); err == nil {
				continue
			}
			if isTimeout(err) {
				return Packet{}, fmt.Errorf("receive: %w", cause(ctx, err))
			}
		}
		if err != io.EOF {
			err = fmt.Errorf("receive: %w", err)
		}
		s.in.err = err
		s.in.source.Release()
		return Packet{}, err
	}
}

func (s *stream) send(ctx context.Context, p Packet) error {
	s.out.Lock()
	defer s.out.Unlock()
	if s.out.err != nil {
		return s.out.err
	}
	if err := s.out.deadline.follow(ctx); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	env, err := s.out.encoder.Envelope(&p)
	if err != nil {
		return fmt.Errorf("send: %w", err) // the packet's fault, not the connection's
	}
	return s.write(ctx, env.Head(), env.Body(&p), env.Tail(&p))
}

// sendHeader sends what announces the transport, if no packet has done so.
func (s *stream) sendHeader(ctx context.Context) error {
	s.out.Lock()
	defer s.out.Unlock()
	if s.out.err != nil {
		return s.out.err
	}
	if err := s.out.deadline.follow(ctx); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return s.write(ctx, nil, nil, nil)
}

// write makes one Write of the pieces, and of the protocol's header before the
// first. Whatever goes wrong is final: how much the peer got is not known.
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
		s.out.err = fmt.Errorf("send: %w", cause(ctx, err))
	}
	return s.out.err
}

func (s *stream) close() error {
	s.in.deadline.close()
	s.out.deadline.close()
	return s.conn.Close()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
