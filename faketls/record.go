package faketls

import (
	"encoding/binary"
	"fmt"

	"github.com/mtwire/mtwire/frame"
)

// RecordType is the first byte of a record.
type RecordType uint8

// The record types that occur. RecordAlert is only ever sent by a peer that
// gives up.
const (
	RecordChangeCipherSpec RecordType = 0x14
	RecordAlert            RecordType = 0x15
	RecordHandshake        RecordType = 0x16
	RecordApplicationData  RecordType = 0x17
)

const (
	// RecordHeaderLength is the size of a record's header: type, two bytes of
	// version, two bytes of big-endian length.
	RecordHeaderLength = 5

	// maxPlaintext is the most that a TLS record holds before encryption
	// (RFC 8446, section 5.1), and so the most that a hello may have.
	maxPlaintext = 1 << 14

	// maxBody is the longest body accepted: whatever the length field can say.
	// TLS 1.3 stops at 16640 bytes, but some clients put a whole message into
	// one record, and a body costs no memory here.
	maxBody = 1<<16 - 1

	// writeFromClient is the longest body that a client sends. TDLib,
	// Telegram Desktop, Android and mtcute all cut at this number.
	writeFromClient = 2878

	// writeFromServer is the longest body that a server sends: as much as
	// plain TLS 1.2 would, and less than every limit known in a client.
	writeFromServer = maxPlaintext
)

// changeCipherSpec is the one record of its type: version 1.2, body 01.
const changeCipherSpec = "\x14\x03\x03\x00\x01\x01"

// RecordError reports a record that has no place in the stream.
type RecordError struct {
	// Header is the record's header as received.
	Header [RecordHeaderLength]byte
	// Reason says what is wrong with it.
	Reason string
}

// Error shows the reason and the header.
func (e *RecordError) Error() string {
	return fmt.Sprintf("faketls: malformed record % x: %s", e.Header[:], e.Reason)
}

// Is reports that every RecordError is an ErrMalformed.
func (e *RecordError) Is(target error) bool { return target == ErrMalformed }

func recordError(header []byte, format string, args ...any) error {
	return &RecordError{Header: [RecordHeaderLength]byte(header), Reason: fmt.Sprintf(format, args...)}
}

// ParseRecordHeader reads the header of a record that follows the handshake,
// written by the from end. It returns the type, which is either
// RecordApplicationData, whose body of length bytes (0 is possible) belongs to
// the stream, or RecordChangeCipherSpec, whose body is to be skipped.
//
// Other headers are a *RecordError; fewer than five bytes are ErrIncomplete.
func ParseRecordHeader(b []byte, from frame.Side) (t RecordType, length int, err error) {
	if len(b) < RecordHeaderLength {
		return 0, 0, ErrIncomplete
	}
	b = b[:RecordHeaderLength]
	t, length = RecordType(b[0]), int(binary.BigEndian.Uint16(b[3:]))
	switch {
	case b[1] != 3 || b[2] != 3:
		return 0, 0, recordError(b, "version is not 03 03")
	case t == RecordChangeCipherSpec:
		if length != 1 {
			return 0, 0, recordError(b, "ChangeCipherSpec has %d bytes, want 1", length)
		}
	case t == RecordAlert:
		return 0, 0, recordError(b, "%s sent an alert", from)
	case t != RecordApplicationData:
		return 0, 0, recordError(b, "type has no place after the handshake")
	}
	return t, length, nil
}

// AppendRecordHeader appends the header of an ApplicationData record with a
// body of n bytes. It panics if n does not fit the length field, because a
// length that wraps would desynchronise the stream without a trace.
//
// Clients keep n at or under 2878, servers at or under 16384.
func AppendRecordHeader(dst []byte, n int) []byte {
	if n < 0 || n > maxBody {
		panic(fmt.Sprintf("faketls: internal error: record of %d bytes", n))
	}
	return append(dst, byte(RecordApplicationData), 3, 3, byte(n>>8), byte(n))
}

// appendRecords appends p cut into records of at most limit bytes each.
func appendRecords(dst, p []byte, limit int) []byte {
	for len(p) > 0 {
		n := min(len(p), limit)
		dst = append(AppendRecordHeader(dst, n), p[:n]...)
		p = p[n:]
	}
	return dst
}
