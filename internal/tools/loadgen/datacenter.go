package loadgen

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
)

// DataCenter is the end of the line: it sends as much as it is asked for,
// checks what it is sent, and returns echoes.
//
// It takes obfuscated streams without a secret, in any framing, as that is how
// proxies come, and takes every connection for one. A listener for all
// transports would have to guess from the first bytes, and there are proxies
// that draw theirs at random: once in 256 times they begin like Abridged.
type DataCenter struct {
	listener net.Listener
	accepted atomic.Int64
	open     atomic.Int64
}

// NewDataCenter returns a data centre that will serve on ln.
func NewDataCenter(ln net.Listener) *DataCenter { return &DataCenter{listener: ln} }

// Addr returns the address listened on.
func (dc *DataCenter) Addr() net.Addr { return dc.listener.Addr() }

// Accepted is how many connections have come so far.
func (dc *DataCenter) Accepted() int64 { return dc.accepted.Load() }

// Open is how many connections there are now.
func (dc *DataCenter) Open() int64 { return dc.open.Load() }

// Serve serves until ctx ends, closes the listener and all connections, and
// returns why.
func (dc *DataCenter) Serve(ctx context.Context) error {
	return serve(ctx, dc.listener, func(_ context.Context, conn net.Conn) {
		dc.accepted.Add(1)
		dc.open.Add(1)
		defer dc.open.Add(-1)
		stream, hello, err := obfuscation.Accept(conn, nil)
		if err == nil {
			newSession(stream, hello.Protocol).run()
		}
	})
}

// session is one connection to the data centre. Idle, it owns no buffer.
type session struct {
	conn    *obfuscation.Conn
	source  readbuf.Reader
	decoder frame.Decoder
	encoder frame.Encoder

	sent     uint64 // packets of data
	received uint64
	buffer   []byte // the last packet of data sent, if any was
}

func newSession(conn *obfuscation.Conn, protocol frame.Protocol) *session {
	s := &session{
		conn:    conn,
		decoder: frame.Decoder{Protocol: protocol, From: frame.Client},
		encoder: frame.Encoder{Protocol: protocol, From: frame.Server},
	}
	s.source.Reset(conn)
	return s
}

// run answers until the client is gone, or does what no client of ours does:
// there is nothing to tell it then.
func (s *session) run() {
	defer s.source.Release()
	for {
		p, n, err := s.decoder.Parse(s.source.Bytes())
		switch err {
		case nil:
			err = s.answer(p.Payload)
			s.source.Consume(n)
		case frame.ErrIncomplete:
			err = s.source.Fill()
		}
		switch err {
		case nil:
		case ErrCorrupt:
			// Hanging up on what is still to come would take the answer along.
			io.Copy(io.Discard, s.conn)
			return
		default:
			return
		}
	}
}

func (s *session) answer(payload []byte) error {
	m, err := parseMessage(payload)
	if err != nil {
		return err
	}
	switch m.kind {
	case echo:
		return s.send(payload)
	case download:
		d, err := parseDemand(m.number)
		if err != nil {
			return err
		}
		return s.sendData(m.stream, d)
	case data:
		if m.number != s.received || !m.intact() {
			s.reply(fault, m.stream, s.received)
			return ErrCorrupt
		}
		s.received++
		return nil
	case confirm:
		return s.reply(confirmed, m.stream, s.received)
	}
	return fmt.Errorf("message of kind %d", m.kind)
}

func (s *session) sendData(stream uint32, d demand) error {
	s.buffer = fill(s.buffer, stream, int(d.length))
	for range d.packets {
		putHeader(s.buffer, data, stream, s.sent)
		if err := s.send(s.buffer); err != nil {
			return err
		}
		s.sent++
	}
	return nil
}

func (s *session) reply(k kind, stream uint32, number uint64) error {
	var b [MinPacket]byte
	putHeader(b[:], k, stream, number)
	return s.send(b[:])
}

func (s *session) send(payload []byte) error {
	p := frame.Packet{Payload: payload}
	env, err := s.encoder.Envelope(&p)
	if err != nil {
		return err
	}
	_, err = s.conn.WritePieces(env.Head(), env.Body(&p), env.Tail(&p))
	return err
}
