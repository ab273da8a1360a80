package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// maxKept is the length of the packets that are kept for another server, in bytes.
// Clients begin with far less; one that sends more before its server answers has this
// server only.
const maxKept = 64 << 10

// slowest is how fast a server takes packets at least, in bytes a second, if there is
// another one.
const slowest = 16 << 10

// linger is how long a client gets answers after the end of its own stream.
const linger = 3 * time.Second

// session is a client with its server.
type session struct {
	relay     *Relay
	client    *mtwire.Conn
	transport mtwire.Transport
	start     time.Time

	mu       sync.Mutex
	server   *mtwire.Conn // nil until one is dialled
	to       *endpoint
	tried    []*endpoint
	answered bool
	kept     []mtwire.Packet // what the server was sent before its first answer
	keptSize int             // in bytes; above maxKept, kept is nil

	refused  bool // by a WebSocket, with a transport error; download's
	up, down counts
}

// counts are written by one goroutine, and read after it has ended.
type counts struct{ packets, bytes int64 }

func (c *counts) add(payload []byte) {
	c.packets++
	c.bytes += int64(len(payload))
}

// run passes packets in both directions. It returns why the first of them has ended, nil
// for the end of the client's stream.
func (s *session) run(ctx context.Context, first mtwire.Packet) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.keep(first)
	s.up.add(first.Payload)
	if err := s.connect(ctx, nil, first); err != nil {
		return err
	}
	var (
		once  sync.Once
		cause error
		tasks sync.WaitGroup
	)
	end := func(err error) {
		once.Do(func() { cause = err })
		cancel()
	}
	tasks.Go(func() {
		err := s.upload(ctx)
		if err == nil && s.transport.Carrier == mtwire.TCP {
			// The client may have closed one direction only.
			time.AfterFunc(linger, cancel)
			return
		}
		end(err)
	})
	tasks.Go(func() { end(s.download(ctx)) })
	tasks.Wait()
	s.server.Close()
	return cause
}

// upload passes on what the client sends.
func (s *session) upload(ctx context.Context) error {
	for {
		packet, err := s.client.Receive(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if packet.Kind != mtwire.KindPayload {
			continue // only a server has other packets
		}
		s.up.add(packet.Payload)
		server := s.keep(packet)
		err = server.SendPacket(ctx, forServer(packet, server.Transport()))
		if err != nil && !s.mayRetry(server) {
			return err
		}
	}
}

// keep keeps a copy of a packet until the server has answered, and returns the server.
func (s *session) keep(packet mtwire.Packet) *mtwire.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered || s.keptSize > maxKept {
		return s.server
	}
	if s.keptSize += len(packet.Payload) + len(packet.Padding); s.keptSize > maxKept {
		s.kept = nil
		return s.server
	}
	packet.Payload = bytes.Clone(packet.Payload)
	packet.Padding = bytes.Clone(packet.Padding)
	s.kept = append(s.kept, packet)
	return s.server
}

// mayRetry reports whether a packet that this server did not take goes to another one:
// download is then told, and sends what is kept.
func (s *session) mayRetry(server *mtwire.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != server {
		return true // there is another one already, and it was sent the packet
	}
	if s.answered || s.kept == nil {
		return false
	}
	server.Close()
	return true
}

// download passes on what the server sends, and connects to another one if this one ends
// before its first packet.
func (s *session) download(ctx context.Context) error {
	for {
		packet, err := s.receive(ctx)
		var code *mtwire.TransportError
		switch {
		case errors.As(err, &code) && s.refused:
			return io.EOF
		case errors.As(err, &code):
			s.answers()
			// The next one would be the same in the close frame.
			s.refused = s.server.Transport().Carrier == mtwire.WebSocket
			err = s.client.SendError(ctx, code.Code)
		case err == nil:
			s.answers()
			if packet.Kind == mtwire.KindPayload {
				s.down.add(packet.Payload)
			}
			if packet, ok := forClient(packet, s.transport); ok {
				err = s.client.SendPacket(ctx, packet)
			}
		case ctx.Err() == nil && !s.answered:
			err = s.connect(ctx, err, mtwire.Packet{})
		}
		if err != nil {
			return err
		}
	}
}

// receive returns the server's next packet. For the first one there is a limit, if there
// is another server.
func (s *session) receive(ctx context.Context) (mtwire.Packet, error) {
	limit := s.relay.config.AnswerTimeout
	if s.answered || limit < 0 || s.relay.endpoints.next(s.tried) == nil {
		return s.server.Receive(ctx)
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	packet, err := s.server.Receive(limited)
	if err != nil && ctx.Err() == nil && context.Cause(limited) == errSilent {
		err = errSilent
	}
	return packet, err
}

var errSilent = errors.New("no answer in time")

// answers notes that the server has sent a packet.
func (s *session) answers() {
	if s.answered {
		return
	}
	s.mu.Lock()
	s.answered, s.kept = true, nil
	s.mu.Unlock()
	s.relay.endpoints.recovered(s.to, s.relay.config.Log)
}

// connect dials the next server that takes what is kept, or the first packet, which may
// be longer than what is kept. failure is why the server before is given up, nil if there
// was none.
func (s *session) connect(ctx context.Context, failure error, first mtwire.Packet) error {
	if s.server != nil {
		s.server.Close()
		s.relay.endpoints.failed(s.to, s.relay.config.Log, failure)
	}
	dc := s.transport.DC
	if _, known := datacenter.Lookup(dc); !known {
		dc = 0 // a client without a secret may have random bytes there
	}
	for ctx.Err() == nil {
		to := s.relay.endpoints.next(s.tried)
		if to == nil {
			return errors.Join(errTried, failure)
		}
		s.tried = append(s.tried, to)
		server, err := to.dial(ctx, dc, s.relay.config.Dial)
		if err == nil {
			if err = s.use(ctx, server, to, first); err == nil {
				return nil
			}
			server.Close()
		}
		if err == errNotKept {
			return failure
		}
		if ctx.Err() == nil {
			s.relay.endpoints.failed(to, s.relay.config.Log, err)
		}
		failure = err
	}
	return ctx.Err()
}

var errNotKept = errors.New("more was sent than is kept")

// use sends a server what is kept or, if that is nothing, the first packet, and makes it
// the session's server. There is a limit if there is another server. upload waits
// meanwhile.
func (s *session) use(ctx context.Context, server *mtwire.Conn, to *endpoint, first mtwire.Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	packets := s.kept
	if packets == nil {
		if first.Kind != mtwire.KindPayload || first.Payload == nil {
			return errNotKept
		}
		packets = []mtwire.Packet{first}
	}
	if limit := s.relay.config.AnswerTimeout; limit >= 0 && s.relay.endpoints.next(s.tried) != nil {
		for _, packet := range packets {
			limit += time.Duration(len(packet.Payload)) * time.Second / slowest
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errSilent)
		defer cancel()
	}
	for _, packet := range packets {
		if err := server.SendPacket(ctx, forServer(packet, server.Transport())); err != nil {
			if context.Cause(ctx) == errSilent {
				return errSilent
			}
			return err
		}
	}
	s.server, s.to = server, to
	return nil
}

// forServer returns a client's packet as its transport to the server has it: Full and
// HTTP have no quick acknowledgements, which a client must do without, and padding is a
// matter of Padded intermediate.
func forServer(packet mtwire.Packet, t mtwire.Transport) mtwire.Packet {
	if t.Carrier == mtwire.HTTP || t.Protocol == frame.Full {
		packet.AckWanted = false
	}
	if t.Protocol != frame.PaddedIntermediate {
		packet.Padding = nil
	}
	return packet
}

// forClient is the same for a server's packet. ok is false for a quick acknowledgement
// that the client's transport has no form for.
func forClient(packet mtwire.Packet, t mtwire.Transport) (_ mtwire.Packet, ok bool) {
	if t.Protocol != frame.PaddedIntermediate {
		packet.Padding = nil
	}
	return packet, packet.Kind != mtwire.KindQuickAck || t.Carrier != mtwire.HTTP && t.Protocol != frame.Full
}

// log writes the record of an ended connection.
func (s *session) log(err error) {
	attributes := []any{
		"client", s.client.RemoteAddr().String(), "transport", s.transport.String(),
		"up", s.up.bytes, "up_packets", s.up.packets, "down", s.down.bytes, "down_packets", s.down.packets,
		"duration", time.Since(s.start).Round(time.Millisecond).String(),
	}
	if s.to != nil {
		attributes = append(attributes, "to", s.to.name)
	}
	if s.answered && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, mtwire.ErrShutdown)) {
		s.relay.config.Log.Info("relayed", attributes...)
		return
	}
	s.relay.config.Log.Warn("not relayed to its end", append(attributes, "err", err)...)
}
