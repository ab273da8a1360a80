package loadgen

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/obfuscation"
)

// DataCenter is the upstream of a proxy under load: it sends the data that clients
// request, verifies the data that they send, and returns echoes.
//
// Every connection must be obfuscated without a secret, in any framing, as a
// proxy's upstream connections are. Detecting the transport would fail for some:
// a proxy may draw all 64 bytes of its init payload at random, and one payload in
// 256 then has the first byte of Abridged.
type DataCenter struct {
	gate     *gate
	accepted atomic.Int64
	open     atomic.Int64
}

// NewDataCenter returns a data centre for connections from ln. Serve starts it.
func NewDataCenter(ln net.Listener) *DataCenter { return &DataCenter{gate: newGate(ln)} }

// Addr returns the address that the data centre listens on.
func (dc *DataCenter) Addr() net.Addr { return dc.gate.Addr() }

// Accepted returns the number of connections accepted so far.
func (dc *DataCenter) Accepted() int64 { return dc.accepted.Load() }

// Open returns the number of connections that are open.
func (dc *DataCenter) Open() int64 { return dc.open.Load() }

// Serve accepts and serves connections until ctx ends or the listener fails. It
// closes the listener and all connections, and returns the cause.
func (dc *DataCenter) Serve(ctx context.Context) error {
	return serve(ctx, dc.gate, func(_ context.Context, conn net.Conn) {
		dc.accepted.Add(1)
		dc.open.Add(1)
		defer dc.open.Add(-1)
		stream, init, err := obfuscation.Accept(conn, nil)
		if err == nil {
			newSession(stream, init.Protocol).run()
		}
	})
}

// session is one connection to the data centre. It has no receive buffer while it
// is idle.
type session struct {
	conn    *obfuscation.Conn
	source  readbuf.Reader
	decoder frame.Decoder
	encoder frame.Encoder

	sent     uint64 // number of packets of data
	received uint64
	buffer   []byte        // the last packet of data sent, nil before the first
	pace     time.Duration // from a packet of data to the next; 0 is full speed
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

// run answers messages until the connection ends or brings a message that is not
// of a Client, which has no answer.
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
			// Closing the connection while data arrives would reset it, and the
			// client would lose the fault.
			io.Copy(io.Discard, s.conn)
			return
		default:
			return
		}
	}
}

// answer answers one message. It returns an error for a message after which the
// session ends: ErrCorrupt once it has sent a fault.
func (s *session) answer(payload []byte) error {
	m, err := parseMessage(payload)
	if err != nil {
		return err
	}
	switch m.kind {
	case kindEcho:
		return s.send(payload)
	case kindDownload:
		r, err := parseRequest(m.number)
		if err != nil {
			return err
		}
		return s.sendData(m.stream, r)
	case kindData:
		if m.number != s.received || !m.intact() {
			s.reply(kindFault, m.stream, s.received)
			return ErrCorrupt
		}
		s.received++
		return nil
	case kindPace:
		s.pace, err = parsePace(m.number)
		return err
	case kindConfirm:
		return s.reply(kindConfirmed, m.stream, s.received)
	}
	return fmt.Errorf("message of kind %d", m.kind)
}

// sendData sends the packets that were requested. Paced downloads begin at a random
// time within the pace, so that those of many sessions are not in step.
func (s *session) sendData(stream uint32, r request) error {
	s.buffer = fill(s.buffer, stream, int(r.length))
	var due time.Time
	if s.pace > 0 {
		due = time.Now().Add(rand.N(s.pace))
	}
	for range r.packets {
		if s.pace > 0 {
			time.Sleep(time.Until(due))
			due = due.Add(s.pace)
		}
		putHeader(s.buffer, kindData, stream, s.sent)
		if err := s.send(s.buffer); err != nil {
			return err
		}
		s.sent++
	}
	return nil
}

// reply sends a message without data.
func (s *session) reply(k kind, stream uint32, number uint64) error {
	var b [MinLength]byte
	putHeader(b[:], k, stream, number)
	return s.send(b[:])
}

// send sends a message as one frame, with one Write.
func (s *session) send(payload []byte) error {
	p := frame.Packet{Payload: payload}
	env, err := s.encoder.Envelope(&p)
	if err != nil {
		return err
	}
	_, err = s.conn.WritePieces(env.Head(), env.Body(&p), env.Tail(&p))
	return err
}
