package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
)

// slowest is how fast a side takes packets at least, in bytes a second: a server if there
// is another one, and a client whose server has ended.
const slowest = 16 << 10

// session is a client with its server.
type session struct {
	relay     *Relay
	client    *mtwire.Conn
	transport mtwire.Transport
	dc        mtwire.DC // that the client asks for, 0 if it names none
	start     time.Time
	cancel    context.CancelCauseFunc
	tasks     sync.WaitGroup

	member admission.Member // of those that are unauthenticated
	moved  atomic.Int64     // when that was noted, in nanoseconds since start
	memory held

	uploads, downloads queue

	server   *mtwire.Conn // nil until one is dialled
	to       *endpoint
	tried    []*endpoint
	suspects []failure // of servers, if not of the client
	answered bool
	refused  bool // by a WebSocket, with a transport error
	failed   int  // POSTs in a row

	ends    ends
	repeats repeats

	up, down counts
}

// failure is a server that has ended a connection without an answer.
type failure struct {
	to  *endpoint
	err error
}

// counts are written by one goroutine, and read after it has ended.
type counts struct{ packets, bytes int64 }

func (c *counts) add(payload []byte) {
	c.packets++
	c.bytes += int64(len(payload))
}

var (
	errClientEnded = errors.New("the client has ended its stream")
	errMemory      = errors.New("the memory for packets on their way is used up")
	errSilent      = errors.New("no answer in time")
	errStuck       = errors.New("the other side has taken nothing for minutes")
	errNotKept     = errors.New("more was sent than is kept")
)

func (s *session) init(address netip.Addr) {
	s.memory = held{of: s.relay.memory, from: address, evict: func() { s.cancel(errMemory) }}
	if s.dc = s.transport.DC; s.dc != 0 {
		if _, known := datacenter.Lookup(s.dc); !known {
			s.dc = 0 // a client without a secret may have random bytes there
		}
	}
	s.uploads = queue{tasks: &s.tasks, charge: s.memory.charge, keep: true,
		send: func(ctx context.Context, to *mtwire.Conn, p mtwire.Packet) error {
			defer s.progress()
			return to.SendPacket(ctx, forServer(p, to.Transport()))
		},
		failed: func(to *mtwire.Conn, err error) {
			if isMisfit(err) {
				s.cancel(err)
			}
			to.Close() // download notices it, and connects to another one
			s.uploadFailed()
		},
		end: s.endUpload}
	s.downloads = queue{tasks: &s.tasks, charge: s.memory.charge, to: s.client, drops: true,
		send: func(ctx context.Context, to *mtwire.Conn, p mtwire.Packet) error {
			defer s.progress()
			if p.Kind == mtwire.KindTransportError {
				return to.SendError(ctx, p.Code)
			}
			return to.SendPacket(ctx, p)
		},
		failed: func(_ *mtwire.Conn, err error) { s.downloadFailed(err) }}
	s.uploads.changed.L, s.downloads.changed.L = &s.uploads.mu, &s.downloads.mu
}

// isMisfit reports whether a packet has no form in a transport. It is not the server's
// fault.
func isMisfit(err error) bool {
	var bad *frame.Error
	return errors.As(err, &bad) || errors.Is(err, httpconn.ErrLength)
}

// run passes packets in both directions. It returns why the first of them has ended.
func (s *session) run(ctx context.Context, first mtwire.Packet) error {
	defer s.memory.close()
	defer func() {
		s.tasks.Wait()
		s.repeats.tasks.Wait()
		s.stopTimer()
	}()
	defer s.cancel(nil)
	s.up.add(first.Payload)
	if err := s.uploads.add(ctx, first); err != nil {
		return err
	}
	s.tasks.Go(func() { s.upload(ctx) })
	err := s.download(ctx)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case s.answered:
		// The client may take what was received before.
		patience := linger + seconds(s.downloads.unsent(), slowest)
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if s.downloads.drain(limited); err == io.EOF {
			err = s.finishUpload(ctx)
		}
	}
	if s.server != nil {
		s.closeServer()
	}
	return err
}

// upload passes on what the client sends, and notices its end, also that of one whose
// server takes nothing, or is being dialled.
func (s *session) upload(ctx context.Context) {
	for {
		packet, err := s.client.Receive(ctx)
		if err == nil && packet.Kind == mtwire.KindPayload { // only a server has other packets
			s.up.add(packet.Payload)
			err = s.uploads.add(ctx, packet)
		}
		switch {
		case err == nil:
			continue
		case err == io.EOF:
			s.clientEnded(ctx)
		default:
			s.clientFailed(err)
		}
		return
	}
}

// seconds is how long so many bytes take at so many a second.
func seconds(bytes, rate int) time.Duration {
	return time.Duration(bytes) * time.Second / time.Duration(rate)
}

// download passes on what the server sends, and connects to another one if this one ends
// before its first packet.
func (s *session) download(ctx context.Context) error {
	if err := s.connect(ctx, nil); err != nil {
		return err
	}
	for {
		packet, err := s.receive(ctx)
		var code *mtwire.TransportError
		var post *httpconn.PostError
		switch {
		case errors.As(err, &code) && s.refused:
			return io.EOF
		case errors.As(err, &code) && s.isUnavailable(code.Code):
			err = s.connect(ctx, err)
		case errors.As(err, &code):
			s.answers()
			// The next one would be the same in the close frame.
			s.refused = s.server.Transport().Carrier == mtwire.WebSocket
			err = s.downloads.add(ctx, mtwire.Packet{Kind: mtwire.KindTransportError, Code: code.Code})
		case err == nil:
			s.answers()
			if packet.Kind == mtwire.KindPayload {
				s.down.add(packet.Payload)
			}
			if packet, ok := forClient(packet, s.transport); ok {
				err = s.downloads.add(ctx, packet)
			}
		case ctx.Err() != nil:
		case err == io.EOF && !s.answered && s.endPassed():
			err = errClientEnded // to which the server's is the answer
		case !s.answered:
			err = s.connect(ctx, err)
		case err == io.EOF:
			err = s.repeatAnew(ctx)
		case errors.As(err, &post):
			err = s.repeat(ctx, post)
		}
		if err != nil {
			return err
		}
	}
}

// receive returns the server's next packet. For the first one there is a limit, if there
// is another server.
func (s *session) receive(ctx context.Context) (mtwire.Packet, error) {
	limited, cancel := s.limit(ctx)
	defer cancel()
	packet, err := s.server.Receive(limited)
	switch failed := s.uploads.failure(); {
	case err == nil || ctx.Err() != nil:
	case context.Cause(limited) == errSilent:
		err = errSilent
	case failed != nil && !isReceived(err):
		err = failed // for which the connection was closed
	}
	if err == nil {
		s.failed = 0
	}
	return packet, err
}

// statusInvalidDC is the transport error of a server that is not the data centre asked for.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
const statusInvalidDC = 444

// isUnavailable reports whether an error may be that of something in front of a server over
// HTTP, such as status 403 or 502, in place of a first packet for which there is another
// server. Data centres themselves send 404 for a key that they do not know.
func (s *session) isUnavailable(code uint32) bool {
	return code != http.StatusNotFound && code != statusInvalidDC && !s.answered && s.server.Transport().Carrier == mtwire.HTTP &&
		s.relay.endpoints.next(s.tried, s.dc) != nil
}

// isReceived reports whether an error of Receive is a server's answer to one packet.
func isReceived(err error) bool {
	var code *mtwire.TransportError
	var post *httpconn.PostError
	return errors.As(err, &code) || errors.As(err, &post)
}

// limit returns a context for the wait for a server that has not answered yet: until
// AnswerTimeout is over, and it could have taken what it is sent, if there is another one.
func (s *session) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.relay.config.AnswerTimeout
	if s.answered || limit < 0 || s.relay.endpoints.next(s.tried, s.dc) == nil {
		return ctx, func() {}
	}
	limit += seconds(s.uploads.unsent(), slowest)
	return context.WithTimeoutCause(ctx, limit, errSilent)
}

// answers notes that the server has sent a packet. Those before, which have not answered
// the same client, have failed.
func (s *session) answers() {
	if s.answered {
		return
	}
	s.answered = true
	s.uploads.release()
	s.relay.answered(s)
	for _, f := range s.suspects {
		s.relay.endpoints.failed(f.to, s.dc, f.err)
	}
	s.relay.endpoints.recovered(s.to, s.dc)
}

// connect dials the next server, and has it sent what is kept. failure is why the server
// before is given up, nil if there was none.
func (s *session) connect(ctx context.Context, failure error) error {
	for {
		if s.server != nil {
			s.endNotPassed(nil)
			s.closeServer()
			s.suspect(failure)
		}
		to := s.relay.endpoints.take(s.tried, s.dc, s.relay.trial())
		if to == nil {
			if failure == nil {
				return errTried
			}
			return fmt.Errorf("%w: %w", errTried, failure)
		}
		s.tried = append(s.tried, to)
		s.to = to
		server, err := s.dial(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				s.server = server
			}
			return ctx.Err()
		case err == nil:
			s.server = server
			s.endNotPassed(server)
			if s.uploads.redirect(ctx, server) {
				return nil
			}
			return fmt.Errorf("%w: %w", errNotKept, failure)
		case !errors.Is(err, mtwire.ErrUnknownDC) && !netx.IsLocal(err): // the client's fault, or ours
			s.relay.endpoints.failed(to, s.dc, err)
		}
		failure = err
	}
}

// suspect notes that the present server has failed the client, unless the client is at
// fault itself.
func (s *session) suspect(err error) {
	if !netx.IsLocal(err) {
		s.suspects = append(s.suspects, failure{s.to, err})
	}
}

// dial connects to the server s.to. If there is another one, it may not take longer than an
// answer.
func (s *session) dial(ctx context.Context) (*mtwire.Conn, error) {
	limited, cancel := s.limit(ctx)
	defer cancel()
	config := s.relay.config.Dial
	if s.to.Carrier == mtwire.HTTP {
		config = s.relay.dialHTTP
	}
	dial := func(ctx context.Context) (*mtwire.Conn, error) { return s.to.dial(ctx, s.dc, config) }
	server, err := dial(limited)
	if err != nil {
		server, err = admission.Redial(limited, &s.relay.shortage, err, dial)
	}
	if err == nil {
		s.relay.own.add(toServer(server), s.to.nameFor(s.dc))
	}
	if err != nil && context.Cause(limited) == errSilent {
		err = fmt.Errorf("%w: %w", errSilent, err)
	}
	return server, err
}

// closeServer closes the connection to the server. A WebSocket's waits for the peer.
func (s *session) closeServer() {
	server := s.server
	s.server = nil
	s.relay.own.remove(toServer(server))
	s.tasks.Go(func() { server.Close() })
}

// forServer returns a client's packet as its transport to the server has it: Full and
// HTTP have no quick acknowledgements, which a client must do without, and padding is a
// matter of Padded intermediate.
func forServer(packet mtwire.Packet, t mtwire.Transport) mtwire.Packet {
	if t.Carrier == mtwire.HTTP || t.Protocol == frame.Full {
		packet.AckWanted = false
	}
	packet.Padding = padding(packet, t)
	return packet
}

// forClient is the same for a server's packet. ok is false for a quick acknowledgement
// that the client's transport has no form for.
func forClient(packet mtwire.Packet, t mtwire.Transport) (_ mtwire.Packet, ok bool) {
	packet.Padding = padding(packet, t)
	return packet, packet.Kind != mtwire.KindQuickAck || t.Carrier != mtwire.HTTP && t.Protocol != frame.Full
}

// padding returns what a packet has behind it in a transport; nil means that the transport
// draws it, or has none. A packet that fits all framings as it is gets none if padding
// could make it too long.
func padding(packet mtwire.Packet, t mtwire.Transport) []byte {
	switch {
	case t.Protocol != frame.PaddedIntermediate:
		return nil
	case packet.Padding == nil && len(packet.Payload) > frame.DefaultMaxLength-maxPadding:
		return []byte{}
	}
	return packet.Padding
}

// maxPadding is the most that an encoder draws, in bytes.
const maxPadding = 15
