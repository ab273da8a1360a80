package wsconn

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/frame"
)

// After a transport error a server repeats the error code in its close frame: the
// status is 1000, and the reason is the code in decimal, padded on the left with
// spaces to ten characters.
//
//	"       404"
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
const closeReasonWidth = 10

func closeReason(code uint32) string { return fmt.Sprintf("%*d", closeReasonWidth, code) }

// parseCloseReason is the inverse of closeReason. It accepts any amount of padding,
// because some servers only align codes of three digits. The code must be the
// absolute value of a negative 32-bit integer.
func parseCloseReason(reason string) (*frame.TransportError, bool) {
	digits := strings.TrimLeft(reason, " ")
	if len(reason) > closeReasonWidth || digits == "" || digits[0] == '+' {
		return nil, false
	}
	code, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || code == 0 || code > -math.MinInt32 {
		return nil, false
	}
	return &frame.TransportError{Code: uint32(code)}, true
}
