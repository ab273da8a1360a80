package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
)

// vector returns a session in the format of vectors/README.md.
func (s *session) vector(c client, t testCase) string {
	var b strings.Builder
	field := func(key, format string, args ...any) { b.WriteString(wrap(key + ": " + fmt.Sprintf(format, args...))) }
	field("about", "%s %s: %s.", c.name, c.version, t.Name)
	field("spec", "https://core.telegram.org/mtproto/mtproto-transports")
	field("source", "recorded")
	field("test", "connection")
	if s.secret != "" {
		field("secret", "%s", s.secret)
	}
	if s.transport.FakeTLS {
		field("clock", "%d", s.clock.Add(-faketls.DefaultWindow).Unix())
	}
	head, wire := s.head()
	replyWire := s.sent
	for i, line := range head {
		b.WriteString(strings.TrimSuffix("head: "+line, " ") + "\n") // never wrapped
		if line == "" || i == len(head)-1 {
			_, replyWire, _ = bytes.Cut(replyWire, []byte(emptyLine))
		}
	}
	if s.transport.FakeTLS {
		for range 3 { // the server's hello and the records after it, which are random
			replyWire = replyWire[recordLength(replyWire):]
		}
	}
	field("wire", "%x", wire)
	field("layers", "%v", s.transport)
	field("dc", "%d", s.transport.DC)
	field("secret-index", "%d", s.transport.Secret)
	if s.transport.ServerName != "" {
		field("server-name", "%s", s.transport.ServerName)
	}
	for _, p := range s.packets {
		field("packet", "%s", packetText(p))
	}
	for _, p := range s.replies {
		field("reply", "%s", packetText(p))
	}
	field("reply-wire", "%x", replyWire)
	if free := s.free(wire); free != "" {
		field("free", "%s", free)
	}
	return b.String()
}

// emptyLine ends the head of an HTTP request or response.
const emptyLine = "\r\n\r\n"

// head splits the received bytes into the lines of an HTTP request's head, if
// there is one, and the rest. A preflight, which has no body, is part of the head:
// an empty line ends it, and it has a response of its own.
func (s *session) head() (lines []string, rest []byte) {
	var head []byte
	switch s.transport.Carrier {
	case mtwire.WebSocket:
		head, rest, _ = bytes.Cut(s.received, []byte(emptyLine))
	case mtwire.HTTP:
		body := len(s.received) - len(s.packets[0].Payload)
		head, rest = bytes.TrimSuffix(s.received[:body], []byte(emptyLine)), s.received[body:]
	default:
		return nil, s.received
	}
	return strings.Split(string(head), "\r\n"), rest
}

// packetText returns a packet in the format of vectors/README.md.
func packetText(p mtwire.Packet) string {
	text := "payload " + hex.EncodeToString(p.Payload)
	if p.Kind == mtwire.KindTransportError {
		text = fmt.Sprintf("error %d", p.Code)
	}
	if len(p.Padding) > 0 {
		text += " padding " + hex.EncodeToString(p.Padding)
	}
	if p.AckWanted {
		text += " ack"
	}
	return text
}

// free returns the ranges of wire whose bytes do not matter: the first eight and
// the last two of an init payload, the body of a ChangeCipherSpec, and the bytes
// of a WebSocket mask that a frame shorter than the mask does not use.
func (s *session) free(wire []byte) string {
	if !s.transport.Obfuscated {
		return ""
	}
	const initLength = 64
	var offsets []int
	stream := 0 // bytes of the obfuscated stream so far
	addStream := func(from, to int) {
		for at := from; at < to; at, stream = at+1, stream+1 {
			if stream < 8 || stream >= initLength-2 && stream < initLength {
				offsets = append(offsets, at)
			}
		}
	}
	switch {
	case s.transport.FakeTLS:
		at := recordLength(wire) // the hello
		for ; at < len(wire) && stream < initLength; at += recordLength(wire[at:]) {
			if wire[at] == 0x14 {
				offsets = append(offsets, at+5)
				continue
			}
			addStream(at+5, at+recordLength(wire[at:]))
		}
	case s.transport.Carrier == mtwire.WebSocket:
		for at := 0; at < len(wire); {
			header, length := messageLength(wire[at:])
			for unused := length; unused < maskLength; unused++ {
				offsets = append(offsets, at+header-maskLength+unused)
			}
			addStream(at+header, at+header+length)
			at += header + length
		}
	default:
		addStream(0, initLength)
	}
	return ranges(offsets)
}

// recordLength returns the length of the TLS record at the start of b, with its
// header.
func recordLength(b []byte) int { return 5 + int(binary.BigEndian.Uint16(b[3:])) }

// maskLength is the length of the mask at the end of a client's frame header.
const maskLength = 4

// messageLength returns the lengths of the header and of the payload of the masked
// WebSocket frame at the start of b.
func messageLength(b []byte) (header, length int) {
	switch length = int(b[1] & 0x7f); length {
	case 126:
		return 8, int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return 14, int(binary.BigEndian.Uint64(b[2:]))
	}
	return 6, length
}

// ranges formats ascending offsets as half-open ranges: "0-8 62-64".
func ranges(offsets []int) string {
	var parts []string
	for i := 0; i < len(offsets); {
		from := offsets[i]
		to := from + 1
		for i++; i < len(offsets) && offsets[i] == to; i++ {
			to++
		}
		parts = append(parts, fmt.Sprintf("%d-%d", from, to))
	}
	return strings.Join(parts, " ")
}

var digits = regexp.MustCompile("(?:[0-9a-f]{2}){8,}")

// wrap ends a line, and wraps it if it is long: only between the bytes of long
// runs of hexadecimal digits, as vectors/generate.py does.
func wrap(line string) string {
	const width = 96
	var b strings.Builder
	for len(line) > width {
		cut := 0
		for _, run := range digits.FindAllStringIndex(line, -1) {
			for at := run[0] + 2; at < run[1] && at <= width; at += 2 {
				cut = max(cut, at)
			}
		}
		if cut == 0 {
			break
		}
		b.WriteString(line[:cut] + "\n")
		line = "  " + line[cut:]
	}
	return b.String() + line + "\n"
}
