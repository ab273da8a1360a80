package frame

import "fmt"

// Codes that a data centre is known to send. Others exist; a TransportError
// carries whatever came.
const (
	CodeForbidden     = 403
	CodeAuthKeyAbsent = 404 // the auth key is unknown to this DC, or a key exchange went wrong
	CodeFlood         = 429 // too many connections in a short time, or a limit exceeded
	CodeInvalidDC     = 444 // wrong DC id in the init payload, or a key made for another DC
)

// TransportError is what a server sends in place of a payload when it cannot
// process a packet: one negative little-endian 32-bit integer. It is the
// peer's answer and not a failure of the connection, which may go on, though
// servers usually close it.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
type TransportError struct {
	// Code is the absolute value: 404 for the bytes 6c fe ff ff.
	Code uint32
}

// Error names the code in words where they are known.
func (e *TransportError) Error() string {
	if s := codeText(e.Code); s != "" {
		return fmt.Sprintf("transport error %d: %s", e.Code, s)
	}
	return fmt.Sprintf("transport error %d", e.Code)
}

func codeText(code uint32) string {
	switch code {
	case CodeForbidden:
		return "forbidden"
	case CodeAuthKeyAbsent:
		return "auth key not found"
	case CodeFlood:
		return "transport flood"
	case CodeInvalidDC:
		return "invalid DC"
	}
	return ""
}

// errorCode reads a value of the wire as an error code: negative integers are
// errors, all others are not.
func errorCode(value int32) (code uint32, ok bool) {
	return uint32(-int64(value)), value < 0
}

// errorValue is the integer on the wire for code.
func errorValue(code uint32) uint32 { return -code }
