package frame

import "fmt"

// Codes that data centres are known to send. Others exist, and a TransportError
// can have any.
const (
	CodeForbidden     = 403
	CodeAuthKeyAbsent = 404 // the auth key is unknown to this DC, or a key exchange went wrong
	CodeFlood         = 429 // too many connections in a short time, or a limit exceeded
	CodeInvalidDC     = 444 // wrong DC id in the init payload, or a key made for another DC
)

// TransportError is a server's answer to a packet that it cannot process: one
// negative little-endian 32-bit integer in place of a payload. It does not end the
// connection, but servers usually close it then.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
type TransportError struct {
	// Code is the absolute value: 404 for the bytes 6c fe ff ff.
	Code uint32
}

// Error returns the code, with a description if it is a known code.
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

// errorCode returns the error code for a value on the wire. Only negative values
// are errors.
func errorCode(value int32) (code uint32, ok bool) {
	return uint32(-int64(value)), value < 0
}

// errorValue returns the value on the wire for code.
func errorValue(code uint32) uint32 { return -code }
