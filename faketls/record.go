package faketls

import (
	"encoding/binary"
	"fmt"

	"github.com/mtwire/mtwire/frame"
)

// RecordType is the first byte of a record.
type RecordType uint8

// The record types. A peer sends RecordAlert only to end the connection.
const (
	RecordChangeCipherSpec RecordType = 0x14
	RecordAlert            RecordType = 0x15
	RecordHandshake        RecordType = 0x16
	RecordApplicationData  RecordType = 0x17
)

const (
	// RecordHeaderLength is the length of a record's header in bytes: type, two
	// bytes of version, two bytes of big-endian length.
	RecordHeaderLength = 5

	// maxPlaintext is the longest body of an unencrypted TLS record (RFC 8446,
	// section 5.1), and so of a hello's.
	maxPlaintext = 1 << 14

	// maxBody is the longest body accepted, the largest value of the length field.
	// TLS 1.3's limit is 16640 bytes, but some clients send a whole message in one
	// record, and a body is not buffered here.
	maxBody = 1<<16 - 1

	// writeFromClient is the longest body that a client sends, the limit of TDLib,
	// Telegram Desktop, Telegram for Android and mtcute.
	writeFromClient = 2878

	// writeFromServer is the longest body that a server sends, as servers of TLS 1.3
	// do: maxPlaintext bytes of data, their type, and the tag of the cipher. It is
	// below the limit of every known client.
	writeFromServer = maxPlaintext + 1 + 16
)

// changeCipherSpec is the only valid ChangeCipherSpec record: version 1.2, body 01.
const changeCipherSpec = "\x14\x03\x03\x00\x01\x01"

// RecordError is a record that is malformed or out of place.
type RecordError struct {
	// Header is the record's header as received.
	Header [RecordHeaderLength]byte
	// Reason is what is wrong with it.
	Reason string
}

// Error returns a message with the header and the reason.
func (e *RecordError) Error() string {
	return fmt.Sprintf("faketls: malformed record % x: %s", e.Header[:], e.Reason)
}

// Is makes every RecordError an ErrMalformed for errors.Is.
func (e *RecordError) Is(target error) bool { return target == ErrMalformed }

func recordError(header []byte, format string, args ...any) error {
	return &RecordError{Header: [RecordHeaderLength]byte(header), Reason: fmt.Sprintf(format, args...)}
}

// ParseRecordHeader parses the header of a record that side from sends after the
// handshake. The type is RecordApplicationData, whose body of length bytes, perhaps 0,
// is part of the stream, or RecordChangeCipherSpec, whose body must be skipped.
//
// Other headers are a *RecordError. If b has fewer than five bytes, the error is
// ErrIncomplete.
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
		return 0, 0, recordError(b, "type is not allowed after the handshake")
	}
	return t, length, nil
}

// AppendRecordHeader appends the header of an ApplicationData record with a body of n
// bytes. It panics if n is negative or above 65535, because a wrapped length puts the
// stream out of step without an error.
//
// Clients send at most 2878 bytes in a record, servers at most 16401.
func AppendRecordHeader(dst []byte, n int) []byte {
	if n < 0 || n > maxBody {
		panic(fmt.Sprintf("faketls: internal error: record of %d bytes", n))
	}
	return append(dst, byte(RecordApplicationData), 3, 3, byte(n>>8), byte(n))
}
