package webproxy

import "github.com/coder/websocket"

// socketOptions returns the options of a WebSocket with a sub-protocol. The rest is the
// browser's.
func (c *Client) socketOptions(protocol string) *websocket.DialOptions {
	return &websocket.DialOptions{Subprotocols: []string{protocol}}
}
