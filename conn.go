package mtwire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
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
// All methods may be called concurrently, except that one call of Receive at a time
// is served: another one returns ErrConcurrentReceive, because the bytes of a packet
// are valid until the next call. On a byte stream, calls that send are served one
// after the other, in order. Each direction keeps its first error: later calls return
// the same.
//
// When ctx ends, a blocked call returns ctx.Err() at once. A Receive that its
// context ended can be called again and has lost nothing, unless it was inside a
// WebSocket frame, an HTTP request, or the handshake of TLS, FakeTLS or WebSocket.
// A Send that its context ended while it waited for its turn has sent nothing; later,
// it may have sent a part, and all later ones fail. Calls that fail because an earlier
// context has ended return an error that is net.ErrClosed, and no context's.
//
// All this holds over any net.Conn, such as a channel of SSH or a stream of a
// multiplexer. One without deadlines, whose SetDeadline fails, is read and written by
// goroutines that end with Close; a Send that its context ended may then go on in the
// background. One whose deadline does not end a blocked call is closed a second later,
// and the call returns then.
//
// # HTTP
//
// HTTP carries payloads of eight bytes or more, and transport errors; for quick
// acknowledgements there is ErrNotOverHTTP. A packet from Receive is the caller's.
//
// A client's packets are POSTs, each independent of the others, on up to eight
// connections. Send returns when its POST has begun, and its context applies to the
// wait for one of the eight alone. What becomes of the POST is a result of Receive: the
// response, in the order of arrival, or a *TransportError or *httpconn.PostError, each
// once. Nothing is received without a POST, as for http_wait, and there is no first
// error that is kept.
//
// A server's Conn is one connection, on which requests are answered one by one:
// Receive returns the next request's packet after the response to the one before, and
// Send waits for a request to answer. Without an answer the response is an empty one
// after the WaitLimit of ListenConfig.HTTP, while Receive waits. If the client ends its
// stream meanwhile, Receive returns io.EOF, and the response may still be sent. A client's packets
// come over several Conns. An error that ends the connection ends both directions.
type Conn struct {
	net  net.Conn // the socket, nil on an HTTP client
	side frame.Side

	handshakeMu netx.Mutex
	ready       atomic.Bool // the fields below are final
	err         error       // of the handshake
	transport   Transport
	stream      *stream
	http        httpPackets  // in place of stream
	websocket   *wsconn.Conn // below stream, for its close reason
	request     *incomplete  // of an HTTP server, nil without limits

	receiving atomic.Bool // Receive is running
	closed    atomic.Bool
	settings  *serverSettings                     // servers
	handshake atomic.Pointer[handshake.Handshake] // servers, until ready
}

// httpPackets is an *httpClient, an *httpServer or an *httpconn.Request.
type httpPackets interface {
	Send(ctx context.Context, payload []byte) error
	Receive(ctx context.Context) ([]byte, error)
	Close() error
}

// ErrNotOverHTTP is returned by Send methods for packets that HTTP has no form for,
// such as quick acknowledgements. The connection stays usable.
var ErrNotOverHTTP = errors.New("HTTP carries payloads and transport errors only")

// ErrConcurrentReceive is returned by a Receive that is called while another one of the
// same connection runs. It has no effect on the connection.
var ErrConcurrentReceive = errors.New("another Receive is running")

// errInterrupted is the final error of a handshake whose context ended during an
// inner handshake (TLS, WebSocket, FakeTLS), which cannot be resumed.
var errInterrupted = fmt.Errorf("interrupted by an earlier context: %w", net.ErrClosed)

// Handshake completes the handshake, after which packets can be exchanged and
// Transport is known. Send and Receive call it. A second call returns the same.
//
// On a server it waits for the client's first bytes, for as long as ctx allows,
// and detects the transport. On a client it sends the header or init payload,
// which otherwise goes out together with the first packet.
func (c *Conn) Handshake(ctx context.Context) error {
	if err := c.serverHandshake(ctx); err != nil || c.side == frame.Server || c.http != nil {
		return err
	}
	return c.stream.sendHeader(ctx)
}

// serverHandshake runs a server's handshake once. Its error is final, unless ctx
// ended while the handshake waited for the client.
func (c *Conn) serverHandshake(ctx context.Context) error {
	if c.ready.Load() {
		return c.err
	}
	if err := c.handshakeMu.Lock(ctx); err != nil {
		return handshakeError(err)
	}
	if !c.ready.Load() {
		return c.afterFirstByte(ctx, c.handshake.Load().Await(ctx))
	}
	c.handshakeMu.Unlock()
	return c.err
}

// afterFirstByte continues serverHandshake. err is the result of the wait for the
// client's first byte, which needs little stack because this is another function.
func (c *Conn) afterFirstByte(ctx context.Context, err error) error {
	defer c.handshakeMu.Unlock()
	h := c.handshake.Load()
	if err == nil {
		var panicked error
		err, panicked = c.runHandshake(ctx, h)
		defer func() {
			if panicked != nil {
				panic(panicked)
			}
		}()
	}
	if err != nil {
		err = handshakeError(err)
		if h.Resumable() {
			return err
		}
		c.transport = h.Transport()
	}
	c.err = err
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		// The error kept must not look like the end of a later context.
		c.err = handshakeError(errInterrupted)
	}
	h.Close()
	c.handshake.Store(nil)
	c.ready.Store(true)
	if c.closed.Load() && c.stream != nil {
		c.stream.release()
	}
	return err
}

// runHandshake runs h in a goroutine of its own. The stack that the handshake
// needs is released when the goroutine ends; the caller's would stay grown. A panic of
// a function of the config is returned, for the caller's goroutine, which may recover.
func (c *Conn) runHandshake(ctx context.Context, h *handshake.Handshake) (err, panicked error) {
	c.err = errInterrupted // unless a callback panics, or calls runtime.Goexit
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if value := recover(); value != nil {
				panicked = &callbackPanic{value, debug.Stack()}
			}
		}()
		result, err := h.Run(ctx, &c.settings.handshake, listenAuth{c.settings})
		if err != nil {
			err = c.settings.reject(ctx, c.net, err)
		} else {
			c.setResult(result)
		}
		c.err = err
	}()
	<-done
	return c.err, panicked
}

// callbackPanic is the value of a panic in another goroutine, and that goroutine's
// stack.
type callbackPanic struct {
	value any
	stack []byte
}

func (p *callbackPanic) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

func (p *callbackPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// setResult puts the layers that a server's handshake found on top of its
// connection.
func (c *Conn) setResult(result *handshake.Result) {
	c.transport = result.Transport
	if c.transport.Carrier == HTTP {
		config := c.settings.http()
		c.limitHTTP(config, c.net)
		c.http = newHTTPServer(httpconn.NewServer(result.Conn, config))
		return
	}
	conn := result.Conn
	c.websocket, _ = netx.Below[*wsconn.Conn](conn)
	if result.Records != nil {
		conn = faketls.NewConnFrom(conn, frame.Server, *result.Records)
	}
	if result.Obfuscated {
		init := obfuscation.Init{Upload: result.Upload, Download: result.Download}
		streams := init.Streams(frame.Server)
		streams.Receive.XORKeyStream(result.Buffered, result.Buffered)
		conn = obfuscation.NewConn(conn, streams)
	}
	c.stream = newStream(conn, c.transport.Protocol, frame.Server, c.settings.MaxLength, &c.settings.limits, c.settings.Rand)
	c.stream.in.source.Preload(result.Buffered)
}

func handshakeError(err error) error { return fmt.Errorf("handshake: %w", err) }

// Transport returns the connection's transport. On a server it is zero until the
// handshake is over.
func (c *Conn) Transport() Transport {
	if !c.ready.Load() {
		return Transport{}
	}
	return c.transport
}

// Send sends a payload, whose length is a multiple of four bytes. It does not keep the
// payload.
//
// Over TCP a packet is one Write on the connection below, with the header or init
// payload ahead of the first one. FakeTLS makes a Write for each 64 KiB, TLS one for
// each record, and WebSocket one for a packet of up to 63 KiB and several for a longer
// one.
//
// An error in the payload itself leaves the connection usable. Any other error is
// final.
func (c *Conn) Send(ctx context.Context, payload []byte) error {
	return c.SendPacket(ctx, Packet{Payload: payload})
}

// SendPacket sends a packet of any kind. A client requests a quick acknowledgement
// with AckWanted. A server sends one as a Token, with KindQuickAck.
func (c *Conn) SendPacket(ctx context.Context, p Packet) error {
	if err := c.serverHandshake(ctx); err != nil {
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

// SendError sends a transport error, as a server: in a frame like a payload's, or
// over HTTP as status and body. Over WebSocket it is also the reason of a close
// frame, which ends the connection.
func (c *Conn) SendError(ctx context.Context, code uint32) error {
	err := c.SendPacket(ctx, Packet{Kind: frame.KindTransportError, Code: code})
	if err == nil && c.websocket != nil {
		return c.websocket.CloseTransportError(code)
	}
	return err
}

// Receive returns the next payload or quick acknowledgement. Its bytes are valid
// until the next call of Receive, by any goroutine: goroutines that share the calls
// copy what they keep. A call while another one runs returns ErrConcurrentReceive.
//
// Receive strips the padding of encrypted messages and of unencrypted ones with a
// valid length. Other payloads in padded intermediate may keep up to 12 bytes of
// padding. Over HTTP, a client receives nothing before it has sent something, since
// every packet is a response, and a payload has eight bytes or more.
//
// A transport error from the server is returned as *TransportError and does not
// end the connection. Over WebSocket it may come once more, from the close frame,
// followed by io.EOF. io.EOF means that the peer ended the stream after a whole
// packet. After Listener.Shutdown, the error is ErrShutdown. All other errors are
// final, except context errors, ErrConcurrentReceive and, on an HTTP client,
// *httpconn.PostError, which fails a single request.
func (c *Conn) Receive(ctx context.Context) (p Packet, err error) {
	if !c.receiving.CompareAndSwap(false, true) {
		return p, receiveError(ErrConcurrentReceive)
	}
	defer c.receiving.Store(false)
	if err = c.serverHandshake(ctx); err != nil {
		return p, err
	}
	if c.http == nil {
		err = c.stream.receive(ctx, &p)
	} else {
		p.Payload, err = c.http.Receive(ctx)
		err = c.requestError(err)
	}
	return p, err
}

// CloseWrite ends the stream to the peer behind what was sent: the peer's Receive returns
// io.EOF, and what it sends still arrives. Later calls that send return net.ErrClosed.
// Close is still to be called.
//
// The error is errors.ErrUnsupported, and the connection stays as it is, where there is
// no half-close: over WebSocket and WEB, on a server over HTTP, and over a connection
// without a method CloseWrite. On a client over HTTP there are no more POSTs, and Receive
// returns io.EOF behind the results of those that have begun. Any other error is ctx's or
// the connection's.
func (c *Conn) CloseWrite(ctx context.Context) error {
	if err := c.serverHandshake(ctx); err != nil {
		return err
	}
	if c.http == nil {
		return c.stream.closeWrite(ctx)
	}
	if client, ok := c.http.(*httpClient); ok {
		return client.CloseWrite()
	}
	return fmt.Errorf("close the stream: %w", errors.ErrUnsupported)
}

// Close closes the connection. Blocked calls return an error.
func (c *Conn) Close() error {
	c.closed.Store(true)
	if h := c.handshake.Load(); h != nil {
		h.Close()
	}
	switch {
	// A server's handshake may be running, and put layers on top of the socket.
	case !c.ready.Load() || c.err != nil:
		return c.net.Close()
	case c.http != nil:
		if c.request != nil {
			defer c.request.close()
		}
		return c.http.Close()
	}
	c.stream.release()
	return c.stream.conn.Close()
}

// LocalAddr returns the local address. It is nil on an HTTP client, whose requests
// may use several connections.
func (c *Conn) LocalAddr() net.Addr {
	if c.net == nil {
		return nil
	}
	return c.net.LocalAddr()
}

// RemoteAddr returns the peer's address. It is nil on an HTTP client.
func (c *Conn) RemoteAddr() net.Addr {
	if c.net == nil {
		return nil
	}
	return c.net.RemoteAddr()
}
