package mtwire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// Conn is a connection that carries packets: whole MTProto messages, quick
// acknowledgements and transport errors. It is the same on a client and on a
// server, over TCP, WebSocket and HTTP.
//
// One goroutine may send and another receive at the same time; several of either
// are served in order. Each direction keeps its first error for ever.
//
// Contexts: when ctx ends, a blocked call returns at once with ctx.Err(). A
// Receive that ended like this has lost nothing and can be called again, unless
// it was inside a WebSocket frame, an HTTP request, or the handshake of TLS,
// FakeTLS or WebSocket. A Send that ended like this may have sent a part, and is
// the last.
type Conn struct {
	net  net.Conn // the socket, nil on an HTTP client
	side frame.Side

	handshaking netx.Mutex
	ready       atomic.Bool // the fields below are final
	err         error
	transport   Transport
	stream      *stream
	http        httpPackets  // in place of stream
	websocket   *wsconn.Conn // below stream, for its close reason

	closed   atomic.Bool
	settings *serverSettings                     // servers
	server   atomic.Pointer[handshake.Handshake] // servers, until ready
}

// httpPackets is what an HTTP client and an HTTP server have in common.
type httpPackets interface {
	Send(ctx context.Context, payload []byte) error
	Receive(ctx context.Context) ([]byte, error)
	Close() error
}

// ErrNotOverHTTP is returned for packets that HTTP has no form for, such as quick
// acknowledgements.
var ErrNotOverHTTP = errors.New("HTTP carries payloads and transport errors only")

// errInterrupted is the final error of a handshake whose context ended during an
// inner handshake (TLS, WebSocket, FakeTLS), which cannot be resumed.
var errInterrupted = errors.New("it was interrupted earlier")

// Handshake completes what must be done before packets can flow. Send and Receive
// call it; on its own it serves to look at Transport first.
//
// On a server it waits for the client's first bytes, for as long as ctx allows,
// and detects the transport. On a client it sends the bytes that announce the
// transport, which otherwise go out together with the first packet.
func (c *Conn) Handshake(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil || c.side == frame.Server || c.http != nil {
		return err
	}
	return c.stream.sendHeader(ctx)
}

// prepare runs a server's handshake once. Its error is final, unless ctx ended it
// while it waited for the client.
func (c *Conn) prepare(ctx context.Context) error {
	if c.ready.Load() {
		return c.err
	}
	if err := c.handshaking.Lock(ctx); err != nil {
		return inHandshake(err)
	}
	if !c.ready.Load() {
		return c.settle(ctx, c.server.Load().Await(ctx))
	}
	c.handshaking.Unlock()
	return c.err
}

// settle continues from the client's first byte. It is apart from prepare so that
// the wait for that byte needs little stack.
func (c *Conn) settle(ctx context.Context, err error) error {
	defer c.handshaking.Unlock()
	h := c.server.Load()
	if err == nil {
		err = c.runServer(ctx, h)
	}
	if err != nil {
		err = inHandshake(err)
		if h.Resumable() {
			return err
		}
		c.transport = h.Transport()
	}
	c.err = err
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		// The error kept must not look like the end of a later context.
		c.err = inHandshake(errInterrupted)
	}
	h.Close()
	c.server.Store(nil)
	c.ready.Store(true)
	if c.closed.Load() && c.stream != nil {
		c.stream.release()
	}
	return err
}

// runServer runs the handshake in a goroutine of its own, which takes the stack
// it needed along when it ends.
func (c *Conn) runServer(ctx context.Context, h *handshake.Handshake) error {
	done := make(chan error, 1)
	go func() {
		err := errInterrupted // if it does not return
		defer func() { done <- err }()
		var result *handshake.Result
		if result, err = h.Run(ctx, &c.settings.handshake, listenAuth{c.settings}); err != nil {
			err = c.settings.reject(ctx, c.net, err)
			return
		}
		c.start(result)
	}()
	return <-done
}

// start makes c what a server's handshake found.
func (c *Conn) start(result *handshake.Result) {
	c.transport = result.Transport
	if c.transport.Carrier == HTTP {
		c.http = httpconn.NewServer(result.Conn, c.settings.http())
		return
	}
	conn := result.Conn
	c.websocket, _ = conn.(*wsconn.Conn)
	if result.Records != nil {
		conn = faketls.NewConnFrom(conn, frame.Server, *result.Records)
	}
	if result.Obfuscated {
		init := obfuscation.Init{Upload: result.Upload, Download: result.Download}
		streams := init.Streams(frame.Server)
		streams.Receive.XORKeyStream(result.Buffered, result.Buffered)
		conn = obfuscation.NewConn(conn, streams)
	}
	c.stream = newStream(conn, c.transport.Protocol, frame.Server, c.settings.MaxLength, c.settings.Rand)
	c.stream.in.source.Preload(result.Buffered)
}

func inHandshake(err error) error { return fmt.Errorf("handshake: %w", err) }

// Transport returns what the connection speaks. On a server it is zero until the
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
// Receive strips the padding of encrypted messages and of unencrypted ones with a
// valid length. Other payloads in padded intermediate may keep up to 12 bytes of
// padding. Over HTTP a client waits until it has sent something, since all it
// receives are answers, and a payload has eight bytes or more.
//
// A transport error from the server is returned as *TransportError and does not
// end the connection; over WebSocket it may come once more, from the close frame,
// followed by io.EOF. io.EOF means that the peer ended the stream after a whole
// packet. All other errors are final, except context errors and, on an HTTP
// client, *httpconn.PostError, which fails a single request.
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
	c.closed.Store(true)
	if h := c.server.Load(); h != nil {
		h.Close()
	}
	// A server's handshake may be running: until it is over, what it reads from is
	// closed, and not what it puts on top.
	switch {
	case !c.ready.Load() || c.err != nil:
		return c.net.Close()
	case c.http != nil:
		return c.http.Close()
	}
	c.stream.release()
	return c.stream.conn.Close()
}

// LocalAddr returns the address of this end, nil on an HTTP client, whose
// requests may use several connections.
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
