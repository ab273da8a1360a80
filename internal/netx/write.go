package netx

import (
	"context"
	"net"
	"time"
)

// Write writes b to conn, until ctx ends or, unless limit is zero, until then. It uses
// the write deadline: conn has none before, and none afterwards. The error is ctx's if
// ctx ended the write.
//
// A socket that has room for b gets it at once, even if ctx has ended. That costs
// neither a registration with ctx nor a timer.
func Write(ctx context.Context, conn net.Conn, b []byte, limit time.Time) error {
	n, err := tryWrite(conn, b)
	if b = b[n:]; err != nil || len(b) == 0 {
		return err
	}
	i := Interrupt(ctx, conn.SetWriteDeadline)
	i.SetDeadline(limit)
	_, err = conn.Write(b)
	if ended := i.Finish(); ended != nil && err != nil {
		return ended
	}
	return err
}
