package mtwire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// Conn is a connection that carries packets: whole MTProto messages, and what
// the transports have beside them. It is the same on a client and on a server,
// over TCP, WebSocket and HTTP.
//
// One goroutine may send and another receive at the same time; more than one
// of either take turns. Each direction keeps its first error for ever.
//
// Contexts: when ctx ends, a blocked call returns at once with ctx.Err(). A
// Receive that ended like this lost nothing and can be called again, unless it
// was in the middle of a WebSocket's frame, an HTTP request, or the handshake
// of TLS, FakeTLS or WebSocket. A Send that ended like this may have sent a
// part, and is the last.
type Conn struct {
	net  net.Conn // the socket, nil on an HTTP client
	side frame.Side

	handshake netx.Mutex
	ready     atomic.Bool // the fields below are final
	err       error
	transport Transport
	stream    stream
	http      httpPackets       // in place of stream
	websocket *wsconn.Conn      // below stream, for its close reason
	hello     *obfuscation.Init // servers: of an obfuscated stream

	accept *acceptor // servers: what is needed until ready
}

// httpPackets is what an HTTP client and an HTTP server have in common.
type httpPackets interface {
	Send(ctx context.Context, payload []byte) error
	Receive(ctx context.Context) ([]byte, error)
	Close() error
}

// ErrNotOverHTTP is returned for quick acknowledgements over HTTP, and for
// whatever else it has no form for.
var ErrNotOverHTTP = errors.New("HTTP carries payloads and transport errors only")

// Handshake completes what is still to be done before packets can flow. Send
// and Receive call it; on its own it is for looking at Transport first.
//
// On a server it waits for the client's first bytes, for as long as ctx
// allows, and finds out what they are. On a client it sends the bytes that
// announce the transport, which otherwise go out together with the first
// packet.
func (c *Conn) Handshake(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil || c.side == frame.Server || c.http != nil {
		return err
	}
	return c.stream.sendHeader(ctx)
}

// Await waits for a client's first byte, as a server, and goes no further.
// When ctx ends first, nothing is lost.
func (c *Conn) Await(ctx context.Context) error {
	if c.ready.Load() {
		return c.err
	}
	if err := c.handshake.Lock(ctx); err != nil {
		return inHandshake(err)
	}
	if c.ready.Load() {
		c.handshake.Unlock()
		return c.err
	}
	err := c.accept.await(ctx, c)
	if err != nil {
		return c.settle(ctx, err)
	}
	c.stream.in.deadline.Unwatch()
	c.handshake.Unlock()
	return nil
}

// prepare runs a server's handshake once. What it ends with is final, unless
// ctx ended it while it was waiting for the client.
func (c *Conn) prepare(ctx context.Context) error {
	if c.ready.Load() {
		return c.err
	}
	if err := c.handshake.Lock(ctx); err != nil {
		return inHandshake(err)
	}
	if !c.ready.Load() {
		return c.settle(ctx, c.accept.await(ctx, c))
	}
	c.handshake.Unlock()
	return c.err
}

// settle goes on from the client's first byte. It is apart from prepare so that
// this needs little stack while it waits.
func (c *Conn) settle(ctx context.Context, err error) error {
	defer c.handshake.Unlock()
	if err == nil {
		err = c.accept.run(ctx, c)
	}
	c.stream.in.deadline.Unwatch()
	if err != nil {
		err = inHandshake(err)
		if c.accept.resumable {
			return err
		}
		c.stream.in.source.Release()
		c.stream.forget()
	}
	c.err, c.accept = err, nil
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		// What stays must not look like the end of a later context.
		c.err = inHandshake(errInterrupted)
	}
	c.ready.Store(true)
	return err
}

func inHandshake(err error) error { return fmt.Errorf("handshake: %w", err) }

// Transport says what the connection speaks. On a server it is zero until the
// handshake is over.
func (c *Conn) Transport() Transport {
	if !c.ready.Load() {
		return Transport{}
	}
	return c.transport
}

// Send sends a payload, a multiple of four bytes, in one Write. The payload
// is the caller's again when Send returns.
//
// An error from checking the payload leaves the connection as it was. Any
// other is final.
func (c *Conn) Send(ctx context.Context, payload []byte) error {
	return c.SendPacket(ctx, Packet{Payload: payload})
}

// SendPacket sends a packet of any kind. To ask for a quick acknowledgement,
// set AckWanted; to give one, as a server, send its Token under KindQuickAck.
func (c *Conn) SendPacket(ctx context.Context, p Packet) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	if c.http == nil {
		return c.stream.send(ctx, &p)
	}
	return c.sendHTTP(ctx, p)
}

func (c *Conn) sendHTTP(ctx context.Context, p Packet) error {
	switch {
	case p.Kind == frame.KindPayload && !p.AckWanted:
		return c.http.Send(ctx, p.Payload)
	case p.Kind == frame.KindTransportError:
		if server, ok := c.http.(interface {
			SendError(context.Context, uint32) error
		}); ok {
			return server.SendError(ctx, p.Code)
		}
	}
	return fmt.Errorf("send: %w", ErrNotOverHTTP)
}

// SendError sends a transport error, as a server: framed like a payload; over
// HTTP as status and body; over WebSocket also as the reason of a close frame,
// after which the connection is over.
func (c *Conn) SendError(ctx context.Context, code uint32) error {
	err := c.SendPacket(ctx, Packet{Kind: frame.KindTransportError, Code: code})
	if err == nil && c.websocket != nil {
		return c.websocket.CloseTransportError(code)
	}
	return err
}

// Receive returns the next payload or quick acknowledgement. Its bytes are
// good until the next call of Receive.
//
// Padded intermediate does not say where padding begins. Of a message, which is
// an encrypted one or says how long it is, Receive finds the end; what is
// neither comes with up to three words more. Over HTTP a client waits until it
// has sent something, for answers are all that there is, and a payload has eight
// bytes or more.
//
// A transport error from the server is returned as *TransportError, and does
// not end the connection; over WebSocket it may come once more, from the close
// frame, and io.EOF behind it. io.EOF means that the peer ended the stream after
// a whole packet. Every other error is final, but for that of a context, and for
// *httpconn.PostError on an HTTP client, which is the end of one request.
func (c *Conn) Receive(ctx context.Context) (p Packet, err error) {
	if err = c.prepare(ctx); err != nil {
		return p, err
	}
	if c.http == nil {
		err = c.stream.receive(ctx, &p)
	} else {
		p.Payload, err = c.http.Receive(ctx)
	}
	return p, err
}

// Close closes the connection. Calls that are blocked return.
func (c *Conn) Close() error {
	c.stream.forget()
	// A server's handshake may be running: close what it reads from, and what
	// has grown on top of it only when it is there.
	switch {
	case !c.ready.Load() || c.err != nil:
		return c.net.Close()
	case c.http != nil:
		return c.http.Close()
	}
	return c.stream.conn.Close()
}

// LocalAddr returns the address of this end, nil on an HTTP client, which has
// no one connection.
func (c *Conn) LocalAddr() net.Addr {
	if c.net == nil {
		return nil
	}
	return c.net.LocalAddr()
}

// RemoteAddr returns the address of the other end, nil on an HTTP client.
func (c *Conn) RemoteAddr() net.Addr {
	if c.net == nil {
		return nil
	}
	return c.net.RemoteAddr()
}
