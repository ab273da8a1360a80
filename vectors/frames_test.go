package vectors_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
)

// frameErrors maps the words of the format to the library's errors.
var frameErrors = map[string]error{
	"empty":      frame.ErrZeroLength,
	"too-short":  frame.ErrTooShort,
	"too-long":   frame.ErrTooLong,
	"misaligned": frame.ErrMisaligned,
	"sequence":   frame.ErrSequence,
	"checksum":   frame.ErrChecksum,
	"token":      frame.ErrQuickAck,
}

// stream has the packets of a byte stream and the format's word for its end, which
// is "" after a whole packet.
type stream struct {
	packets []frame.Packet
	end     string
}

func (s stream) diff(want stream) error {
	for i := range max(len(s.packets), len(want.packets)) {
		got, wanted := "none", "none"
		if i < len(s.packets) {
			got = packetLine(s.packets[i])
		}
		if i < len(want.packets) {
			wanted = packetLine(want.packets[i])
		}
		if got != wanted {
			return fmt.Errorf("packet %d:\n got %s\nwant %s", i, got, wanted)
		}
	}
	return same("end", s.end, want.end)
}

// packetLine returns a packet in the format of a case.
func packetLine(p frame.Packet) string {
	var line string
	switch p.Kind {
	case frame.KindPayload:
		line = "payload " + hex.EncodeToString(p.Payload)
	case frame.KindQuickAck:
		line = fmt.Sprintf("quick-ack %08x", p.Token)
	case frame.KindTransportError:
		line = fmt.Sprintf("error %d", p.Code)
	case frame.KindNOP:
		line = "nop"
	}
	if len(p.Padding) > 0 {
		line += " padding " + hex.EncodeToString(p.Padding)
	}
	if p.AckWanted {
		line += " ack"
	}
	return line
}

// packets parses the packets of a case. Their padding is never nil, so that an
// encoder adds no random padding.
func (r *reader) packets(key string) []frame.Packet {
	var all []frame.Packet
	for _, line := range r.all(key) {
		words := strings.Split(line, " ")
		next := func() string {
			if len(words) == 0 {
				r.fail(key, "%q ends early", line)
				return ""
			}
			word := words[0]
			words = words[1:]
			return word
		}
		p := frame.Packet{Padding: []byte{}}
		switch kind := next(); kind {
		case "payload":
			p.Payload = r.hex(key, next())
		case "quick-ack":
			p.Kind = frame.KindQuickAck
			token, err := strconv.ParseUint(next(), 16, 32)
			if err != nil {
				r.fail(key, "%v", err)
			}
			p.Token = uint32(token)
		case "error":
			p.Kind = frame.KindTransportError
			code, err := strconv.ParseUint(next(), 10, 32)
			if err != nil {
				r.fail(key, "%v", err)
			}
			p.Code = uint32(code)
		case "nop":
			p.Kind = frame.KindNOP
		default:
			r.fail(key, "%q is no kind of packet", kind)
		}
		if len(words) > 0 && words[0] == "padding" {
			next()
			p.Padding = r.hex(key, next())
		}
		if len(words) > 0 && words[0] == "ack" {
			next()
			p.AckWanted = true
		}
		if len(words) > 0 {
			r.fail(key, "%q after a packet", words[0])
		}
		all = append(all, p)
	}
	return all
}

func (r *reader) protocol(key string) frame.Protocol {
	p, err := frame.ParseProtocol(r.text(key))
	if err != nil || p.String() != r.text(key) {
		r.fail(key, "%q is no framing", r.text(key))
	}
	return p
}

func (r *reader) side(key string) frame.Side {
	switch text := r.text(key); text {
	case "client":
		return frame.Client
	case "server":
		return frame.Server
	default:
		r.fail(key, "%q is no side", text)
		return 0
	}
}

func checkFrames(r *reader, d depth) error {
	protocol, from := r.protocol("protocol"), r.side("from")
	maxLength := 0
	if r.has("max-length") {
		maxLength = int(r.number("max-length"))
	}
	wire := r.bytes("wire")
	want := stream{packets: r.packets("packet")}
	want.end, _ = r.optional("error")
	if frameErrors[want.end] == nil && want.end != "incomplete" && want.end != "" {
		r.fail("error", "no error named %q", want.end)
	}
	encode := r.yes("encode")
	if r.err != nil {
		return nil
	}

	for pieces := range d.arrivals(wire) {
		decoder := frame.Decoder{Protocol: protocol, From: from, MaxLength: maxLength}
		if err := decode(&decoder, pieces).diff(want); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	if encode {
		encoder := frame.Encoder{Protocol: protocol, From: from}
		var b []byte
		var err error
		for _, p := range want.packets {
			if b, err = encoder.Append(b, p); err != nil {
				return fmt.Errorf("encode: %w", err)
			}
		}
		if err := equal("encoded", b, wire); err != nil {
			return err
		}
	}
	// Full has no header, so a server does not identify it if the first frame is
	// invalid.
	if d == whole || protocol == frame.Full && from == frame.Client && len(want.packets) == 0 {
		return nil
	}
	return overConnection(protocol, from, maxLength, wire, want, d)
}

func decode(decoder *frame.Decoder, pieces [][]byte) (got stream) {
	var buf []byte
	for _, piece := range pieces {
		buf = append(buf, piece...)
		for {
			p, n, err := decoder.Parse(buf)
			if errors.Is(err, frame.ErrIncomplete) {
				break
			}
			if err != nil {
				got.end = frameErrorWord(err)
				return got
			}
			got.packets = append(got.packets, clonePacket(p))
			buf = buf[n:]
		}
	}
	if len(buf) > 0 {
		got.end = "incomplete"
	}
	return got
}

func clonePacket(p frame.Packet) frame.Packet {
	p.Payload, p.Padding = bytes.Clone(p.Payload), bytes.Clone(p.Padding)
	return p
}

func frameErrorWord(err error) string {
	for word, sentinel := range frameErrors {
		if errors.Is(err, sentinel) {
			return word
		}
	}
	return err.Error()
}

// overConnection sends the same bytes to a whole connection, which has no layer
// below the framing.
func overConnection(protocol frame.Protocol, from frame.Side, maxLength int, wire []byte, want stream, d depth) error {
	// A connection does not return NOPs.
	want.packets = slices.DeleteFunc(slices.Clone(want.packets), func(p frame.Packet) bool { return p.Kind == frame.KindNOP })
	if from == frame.Client {
		wire = append([]byte(protocol.Header()), wire...)
	}
	for pieces := range d.arrivals(wire) {
		near, far := duplexPipe()
		var conn *mtwire.Conn
		var err error
		if from == frame.Client {
			conn = mtwire.Server(near, &mtwire.ListenConfig{MaxLength: maxLength})
		} else if conn, err = mtwire.Client(context.Background(), near, mtwire.Endpoint{Protocol: protocol},
			&mtwire.DialConfig{MaxLength: maxLength}); err != nil {
			return err
		}
		sent := far.send(pieces)
		got := receiveAll(conn)
		conn.Close()
		<-sent
		if err := got.diff(want); err != nil {
			return fmt.Errorf("connection, %s: %w", describe(pieces), err)
		}
	}
	return nil
}

// receiveAll receives until the stream ends.
func receiveAll(conn *mtwire.Conn) (got stream) {
	for {
		p, err := conn.Receive(context.Background())
		var told *mtwire.TransportError
		switch {
		case err == nil || errors.As(err, &told):
			got.packets = append(got.packets, clonePacket(p))
			continue
		case err == io.EOF:
		case errors.Is(err, io.ErrUnexpectedEOF):
			got.end = "incomplete"
		default:
			got.end = frameErrorWord(err)
		}
		return got
	}
}

func checkToken(r *reader, _ depth) error {
	version, plaintext, token := r.number("version"), r.bytes("plaintext"), r.text("token")
	switch version {
	case 1:
		return same("token", fmt.Sprintf("%08x", frame.QuickAckTokenV1(plaintext)), token)
	case 2:
		from, key := r.side("from"), r.fixed("auth-key", frame.AuthKeyLength)
		return same("token", fmt.Sprintf("%08x", frame.QuickAckToken(key, plaintext, from)), token)
	}
	return fmt.Errorf("no MTProto %d", version)
}
