package mtwire

import "context"

// SendEmpty answers the open HTTP request without a packet, as a server does when
// http_wait has expired. It waits as Send does. Over the other carriers, which need no
// answer, it does nothing, so that a handler for all of them may call it; a client's
// SendEmpty does nothing too.
//
// Without SendEmpty, a request is open until Send, SendError, or the WaitLimit of
// ListenConfig.HTTP, which needs a Receive that waits.
func (c *Conn) SendEmpty(ctx context.Context) error {
	if err := c.serverHandshake(ctx); err != nil {
		return err
	}
	if server, ok := c.http.(interface {
		SendEmpty(context.Context) error
	}); ok {
		return server.SendEmpty(ctx)
	}
	return nil
}
