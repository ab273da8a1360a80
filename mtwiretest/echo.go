package mtwiretest

import (
	"context"

	"github.com/mtwire/mtwire"
)

// Echo handles a listener's connection: it answers every packet with its
// payload.
func Echo(ctx context.Context, conn *mtwire.Conn) {
	for {
		p, err := conn.Receive(ctx)
		if err != nil || conn.Send(ctx, p.Payload) != nil {
			return
		}
	}
}
