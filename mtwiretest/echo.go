package mtwiretest

import (
	"context"

	"github.com/mtwire/mtwire"
)

// Echo is an echo server's handler for mtwire.Listener.Serve: it sends the payload
// of every packet back, until Receive or Send fails. It does not close conn.
func Echo(ctx context.Context, conn *mtwire.Conn) {
	for {
		p, err := conn.Receive(ctx)
		if err != nil || conn.Send(ctx, p.Payload) != nil {
			return
		}
	}
}
