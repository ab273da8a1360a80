package webproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Limits of frames and batches.
const (
	// HeaderLength is the length of a frame's header, in bytes.
	HeaderLength = 8
	// MaxPayload is the maximum length of a frame's payload, in bytes.
	MaxPayload = 1 << 20
	// MaxStream is the highest id of a stream. Ids begin with 1; 0 is the session.
	MaxStream = 1<<24 - 1
	// MaxBatchLength is the maximum length of a batch, in bytes.
	MaxBatchLength = 2 << 20
	// MaxBatchFrames is the maximum number of frames of a batch.
	MaxBatchFrames = 4096
	// InitialWindow is the number of DATA bytes that each side may send in a stream before
	// the peer's first WINDOW frame.
	InitialWindow = 4 << 20

	maxPing = 64 // bytes of a PING or PONG
)

// FrameType is the type of a frame.
type FrameType uint8

// The types of frames. Those of the session have the stream id 0.
const (
	OpenFrame    FrameType = 0x01 // app to relay: opens a stream; empty
	DataFrame    FrameType = 0x02 // bytes of a stream; not empty
	CloseFrame   FrameType = 0x03 // ends a stream in both directions; empty
	WindowFrame  FrameType = 0x04 // the peer may send so many bytes more; 4 bytes, not zero
	PingFrame    FrameType = 0x05 // relay to app, session; at most 64 bytes
	PongFrame    FrameType = 0x06 // app to relay, session: the bytes of a PING
	HelloFrame   FrameType = 0x10 // app to relay, session: the first frame; the version, 1
	WelcomeFrame FrameType = 0x11 // relay to app, session: the answer to HELLO; empty
	ByeFrame     FrameType = 0x1f // relay to app, session: ends it; a reason, or empty
)

// String returns the type's name in the protocol, such as "OPEN".
func (t FrameType) String() string {
	switch t {
	case OpenFrame:
		return "OPEN"
	case DataFrame:
		return "DATA"
	case CloseFrame:
		return "CLOSE"
	case WindowFrame:
		return "WINDOW"
	case PingFrame:
		return "PING"
	case PongFrame:
		return "PONG"
	case HelloFrame:
		return "HELLO"
	case WelcomeFrame:
		return "WELCOME"
	case ByeFrame:
		return "BYE"
	}
	return fmt.Sprintf("type %02x", uint8(t))
}

// ErrProtocol is wrapped by every error about what a peer sent.
var ErrProtocol = errors.New("WEB proxy protocol error")

// violation returns an error that wraps ErrProtocol.
func violation(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

// Frame is one frame of a session:
//
//	type      1 byte
//	stream    3 bytes, big-endian
//	length    4 bytes, big-endian: of the payload
//	payload
//
// Source: the official relay's PROTOCOL.md, and Telegram Desktop's
// web_proxy_frame.h
type Frame struct {
	Type    FrameType
	Stream  uint32 // at most MaxStream
	Payload []byte // at most MaxPayload
}

// ParseFrame parses the frame at the beginning of b and returns the rest. The
// payload is a part of b. A frame that is incomplete, or of a type, a stream id or
// a length that the protocol does not have, is an error that wraps ErrProtocol.
func ParseFrame(b []byte) (f Frame, rest []byte, err error) {
	if len(b) < HeaderLength {
		return Frame{}, b, violation("%d bytes of a frame's header", len(b))
	}
	length := binary.BigEndian.Uint32(b[4:])
	if length > MaxPayload {
		return Frame{}, b, violation("payload of %d bytes, want at most %d", length, MaxPayload)
	}
	if uint32(len(b)-HeaderLength) < length {
		return Frame{}, b, violation("%d bytes of a payload of %d", len(b)-HeaderLength, length)
	}
	end := HeaderLength + int(length)
	f = Frame{
		Type:    FrameType(b[0]),
		Stream:  binary.BigEndian.Uint32(b) & MaxStream,
		Payload: b[HeaderLength:end:end],
	}
	if err := f.Check(); err != nil {
		return Frame{}, b, err
	}
	return f, b[end:], nil
}

// Check returns an error that wraps ErrProtocol unless f's stream and payload fit
// its type.
func (f Frame) Check() error {
	n := len(f.Payload)
	var ok bool
	switch f.Type {
	case OpenFrame, CloseFrame:
		ok = f.Stream != 0 && n == 0
	case DataFrame:
		ok = f.Stream != 0 && 0 < n && n <= MaxPayload
	case WindowFrame:
		ok = f.Stream != 0 && n == 4 && binary.BigEndian.Uint32(f.Payload) != 0
	case PingFrame, PongFrame:
		ok = f.Stream == 0 && n <= maxPing
	case HelloFrame:
		ok = f.Stream == 0 && n == 1 && f.Payload[0] == 1
	case WelcomeFrame:
		ok = f.Stream == 0 && n == 0
	case ByeFrame:
		ok = f.Stream == 0 && n <= MaxPayload
	default:
		return violation("frame of %v", f.Type)
	}
	if !ok || f.Stream > MaxStream {
		return violation("%v of %d bytes for stream %d", f.Type, n, f.Stream)
	}
	return nil
}

// Delta returns the number of bytes that a WINDOW frame grants. f must be one that passes
// Check.
func (f Frame) Delta() uint32 { return binary.BigEndian.Uint32(f.Payload) }

// Append appends f's encoding to dst and returns the extended slice. f must pass
// Check.
func (f Frame) Append(dst []byte) []byte {
	return append(appendHeader(dst, f.Type, f.Stream, len(f.Payload)), f.Payload...)
}

func appendHeader(dst []byte, t FrameType, stream uint32, length int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(t)<<24|stream)
	return binary.BigEndian.AppendUint32(dst, uint32(length))
}

// appendWindow appends a WINDOW frame.
func appendWindow(dst []byte, stream, delta uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(dst, WindowFrame, stream, 4), delta)
}

// CheckBatch returns an error that wraps ErrProtocol unless b is a batch: 1 to
// 4,096 whole, valid frames, and at most 2 MiB. It does not allocate.
func CheckBatch(b []byte) error {
	if len(b) > MaxBatchLength {
		return violation("batch of %d bytes, want at most %d", len(b), MaxBatchLength)
	}
	if len(b) == 0 {
		return violation("empty batch")
	}
	var err error
	for n := 0; len(b) > 0; n++ {
		if n == MaxBatchFrames {
			return violation("batch of more than %d frames", MaxBatchFrames)
		}
		if _, b, err = ParseFrame(b); err != nil {
			return err
		}
	}
	return nil
}

// Frames returns the frames of a batch that CheckBatch accepts. Their payloads are
// parts of b. It stops before what is no frame.
func Frames(b []byte) iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		for len(b) > 0 {
			f, rest, err := ParseFrame(b)
			if err != nil || !yield(f) {
				return
			}
			b = rest
		}
	}
}
