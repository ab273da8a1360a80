//go:build !js

package webproxy

import "github.com/coder/websocket"

// socketOptions returns the options of a WebSocket with a sub-protocol.
func (c *Client) socketOptions(protocol string) *websocket.DialOptions {
	return &websocket.DialOptions{
		HTTPClient: c.sockets, HTTPHeader: c.header.Clone(), Subprotocols: []string{protocol}, CompressionMode: websocket.CompressionDisabled,
	}
}
