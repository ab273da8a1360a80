package mtwire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// ErrHandshakeTimeout means that a client began to speak and did not get to
// the end of its transport's announcement in time.
var ErrHandshakeTimeout = errors.New("the client's first bytes took too long")

// errInterrupted is what is left of a handshake that somebody ended in the
// middle of a layer's own: TLS's, WebSocket's, FakeTLS's.
var errInterrupted = errors.New("it was interrupted earlier")

// UnknownError means that a connection's first bytes are none of the
// transports that the server takes, or that no secret fits. It has the bytes.
type UnknownError = detect.UnknownError

// acceptor is a server's handshake: it reads a connection's first bytes and
// puts together the layers they ask for. It is gone afterwards.
type acceptor struct {
	settings *serverSettings
	conn     net.Conn  // the layer that is being read from
	until    time.Time // set by the first byte
	secret   int       // the only secret that fits, once FakeTLS has found it
	layered  bool      // something was answered, or taken off: no way back

	// step goes on from where the handshake stands. It looks at what the
	// source has and consumes it only with its decision, so that it can be
	// called again when a context ended it: then resumable is true.
	step      func(ctx context.Context, c *Conn) error
	resumable bool
}

// await waits for the client's first byte. A connection may wait in here for
// days, so all that needs stack is elsewhere.
func (a *acceptor) await(ctx context.Context, c *Conn) error {
	if a.conn == nil {
		a.conn, a.secret, a.step = c.net, -1, a.first
		c.stream.in.deadline.Rebind(c.net.SetReadDeadline)
		c.stream.in.source.Reset(c.net)
	}
	a.resumable = true
	err := c.stream.in.deadline.Watch(ctx)
	if err == nil {
		err = a.firstByte(ctx, c)
	}
	return err
}

// run goes through the handshake, or on with it, in a goroutine of its own,
// which takes the stack it needed along when it ends.
func (a *acceptor) run(ctx context.Context, c *Conn) error {
	done := make(chan error, 1)
	go func() {
		err := errInterrupted // if it does not return
		defer func() { done <- err }()
		err = a.decide(ctx, c)
	}()
	return <-done
}

// firstByte waits for the first byte of a layer. It may take as long as it
// likes.
func (a *acceptor) firstByte(ctx context.Context, c *Conn) error {
	if len(c.stream.in.source.Bytes()) == 0 {
		if err := c.stream.in.source.Fill(); err != nil {
			return a.noFirstByte(ctx, err)
		}
	}
	return nil
}

func (a *acceptor) noFirstByte(ctx context.Context, err error) error {
	err = netx.Cause(ctx, err)
	a.resumable = ctx.Err() != nil && errors.Is(err, ctx.Err())
	return err
}

// decide starts the timer, takes the next step, and deals with strangers.
func (a *acceptor) decide(ctx context.Context, c *Conn) error {
	a.resumable = false
	a.startTimer(c)
	err := a.step(ctx, c)
	if err == nil {
		c.stream.in.deadline.SetLimit(time.Time{})
		return nil
	}
	var unknown *UnknownError
	if errors.As(err, &unknown) && !a.layered {
		a.refuse(ctx, c, unknown, err)
	}
	return err
}

// startTimer limits the handshake from now, unless it is limited already.
func (a *acceptor) startTimer(c *Conn) {
	if a.until.IsZero() {
		a.until = time.Now().Add(a.settings.handshakeTimeout())
	}
	c.stream.in.deadline.SetLimit(a.until)
}

// more reads until n bytes of the current layer are there.
func (a *acceptor) more(ctx context.Context, c *Conn, n int) error {
	src := &c.stream.in.source
	if a.layered && len(src.Bytes()) == 0 {
		// The client has shown that it speaks the layer below, and may warm
		// the connection up with nothing else.
		c.stream.in.deadline.SetLimit(time.Time{})
		a.until = time.Time{}
		if err := a.firstByte(ctx, c); err != nil {
			return err
		}
		a.startTimer(c)
	}
	for len(src.Bytes()) < n {
		err := src.Fill()
		switch {
		case err == nil:
		case netx.IsTimeout(err):
			if ctx.Err() != nil {
				a.resumable = true
				return ctx.Err()
			}
			return a.unknown(c, ErrHandshakeTimeout)
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return a.unknown(c, io.ErrUnexpectedEOF)
		default:
			return err
		}
	}
	return nil
}

// unknown is the verdict on what has come so far.
func (a *acceptor) unknown(c *Conn, why error) error {
	err := &UnknownError{First: append([]byte(nil), c.stream.in.source.Bytes()...)}
	if why == nil {
		return err
	}
	return fmt.Errorf("%w: %w", why, err)
}

func (a *acceptor) first(ctx context.Context, c *Conn) error {
	src := &c.stream.in.source
	for {
		if err := a.more(ctx, c, 1); err != nil {
			return err
		}
		if a.settings.FakeTLSOnly {
			_, err := a.tls(ctx, c)
			return err
		}
		b := src.Bytes()
		r := detect.First(b, a.settings.MaxLength)
		if r.Kind != detect.More && r.Kind != detect.Obfuscated && r.Kind != detect.TLS && !a.settings.open() {
			return a.unknown(c, nil)
		}
		switch r.Kind {
		case detect.More:
			if err := a.more(ctx, c, r.Need); err != nil {
				return err
			}
		case detect.Framed:
			src.Consume(r.Header)
			c.transport.Secret, c.transport.Protocol = -1, r.Protocol
			a.start(c, a.conn, r.Protocol)
			return nil
		case detect.HTTP:
			if string(b[:4]) == "GET " {
				return a.webSocket(ctx, c)
			}
			a.http(c)
			return nil
		case detect.TLS:
			again, err := a.tls(ctx, c)
			if err != nil || !again {
				return err
			}
		case detect.Obfuscated:
			return a.obfuscated(ctx, c)
		}
	}
}

// start ends the handshake with a stream of packets.
func (a *acceptor) start(c *Conn, conn net.Conn, protocol frame.Protocol) {
	c.stream.start(conn, protocol, frame.Server, a.settings.MaxLength, a.settings.Rand)
}

// obfuscated expects an init payload.
func (a *acceptor) obfuscated(ctx context.Context, c *Conn) error {
	if err := a.more(ctx, c, obfuscation.InitLength); err != nil {
		return err
	}
	hello, err := a.match(ctx, c)
	if err != nil {
		return err
	}
	src := &c.stream.in.source
	if a.settings.Permit != nil {
		t := c.transport
		t.Obfuscated, t.Protocol, t.DC, t.Secret = true, hello.Protocol, hello.DC, hello.Key
		if err := a.settings.Permit(t); err != nil {
			return a.unknown(c, err)
		}
	}
	if replay := a.settings.Replay; replay != nil && hello.Key >= 0 && !c.transport.FakeTLS {
		if replay([16]byte(src.Bytes()[8:])) {
			return a.unknown(c, errInitReplay)
		}
	}
	src.Consume(obfuscation.InitLength)
	streams := hello.Streams(frame.Server)
	rest := src.Bytes()
	streams.Receive.XORKeyStream(rest, rest)
	c.transport.Obfuscated, c.hello = true, &hello
	c.transport.Protocol, c.transport.DC, c.transport.Secret = hello.Protocol, hello.DC, hello.Key
	a.start(c, obfuscation.NewConn(a.conn, streams), hello.Protocol)
	return nil
}

var (
	// ErrWrongSNI means that a FakeTLS hello was made with a secret's key and
	// names a host other than the secret's domain.
	ErrWrongSNI = errors.New("faketls: server name is not the secret's")

	// ErrReplay means that ListenConfig.Replay knew the FakeTLS hello or the
	// init payload.
	ErrReplay = errors.New("seen before")

	errHelloReplay = fmt.Errorf("faketls: ClientHello was %w", ErrReplay)
	errInitReplay  = fmt.Errorf("the init payload was %w", ErrReplay)
)

// match tries the secrets in question on the bytes read, and after them no
// secret, if that is allowed. Full, which has no tag, is tried last.
func (a *acceptor) match(ctx context.Context, c *Conn) (obfuscation.Init, error) {
	src := &c.stream.in.source
	hello, err := a.tryAll(ctx, func(keys [][16]byte) (obfuscation.Init, error) {
		init := [obfuscation.InitLength]byte(src.Bytes())
		return obfuscation.Match(&init, keys)
	})
	if err != nil && a.settings.ObfuscatedFull {
		if err := a.more(ctx, c, obfuscation.FullLength); err != nil {
			return hello, err
		}
		hello, err = a.tryAll(ctx, func(keys [][16]byte) (obfuscation.Init, error) {
			first := [obfuscation.FullLength]byte(src.Bytes())
			return obfuscation.MatchFull(&first, keys, a.settings.MaxLength)
		})
	}
	if err != nil {
		return hello, a.unknown(c, nil)
	}
	return hello, nil
}

// tryAll calls try with the secret that FakeTLS has found, or with those that
// may fit, and then with none if clients without one are served as well.
func (a *acceptor) tryAll(ctx context.Context, try func([][16]byte) (obfuscation.Init, error)) (hello obfuscation.Init, err error) {
	find := a.settings.FindSecret
	switch {
	case a.secret >= 0:
		hello, err = try(a.settings.keys[a.secret : a.secret+1])
		hello.Key = a.secret
		return hello, err
	case find == nil:
		hello, err = try(a.settings.keys)
	default:
		err = obfuscation.ErrNoMatch
		place := find(ctx, SecretQuery{Length: obfuscation.InitLength}, func(set *SecretSet) int {
			if len(set.secrets) == 0 {
				return -1
			}
			if hello, err = try(set.keys); err != nil {
				return -1
			}
			return hello.Key
		})
		if hello.Key = place; place < 0 {
			err = obfuscation.ErrNoMatch
		}
	}
	if err != nil && len(a.settings.Secrets) > 0 && a.settings.AllowNoSecret {
		return try(nil)
	}
	return hello, err
}

// checkHello returns the secret that a FakeTLS hello was made with, or the error
// that rejects it: its key, then its clock and its server name. Replay comes last
// and so remembers only good hellos.
func (a *acceptor) checkHello(ctx context.Context, hello *faketls.ClientHello, length int) (secret int, err error) {
	var clientTime time.Time
	if a.settings.FindSecret == nil {
		secret, clientTime = hello.MatchAny(a.settings.keys)
	} else {
		q := SecretQuery{FakeTLS: true, ServerName: hello.SNI, Length: length}
		secret = a.settings.FindSecret(ctx, q, func(set *SecretSet) (i int) {
			i, clientTime = hello.MatchAny(set.keys)
			return i
		})
	}
	if secret < 0 {
		return -1, faketls.ErrNoMatch
	}
	now := time.Now
	if a.settings.Time != nil {
		now = a.settings.Time
	}
	if err := faketls.CheckClock(clientTime, now(), a.settings.ClockWindow); err != nil {
		return secret, err
	}
	if a.settings.secretFor(secret, hello.SNI) < 0 {
		return secret, fmt.Errorf("%w: %q", ErrWrongSNI, hello.SNI)
	}
	// The last four bytes of the random have the clock, which a copy can change.
	if a.settings.Replay != nil && a.settings.Replay([16]byte(hello.Random[:16])) {
		return secret, errHelloReplay
	}
	return secret, nil
}

// tls takes a TLS record for FakeTLS, for TLS, or for an init payload that
// happens to look like one. again means that another layer was taken off, and
// the table is to be gone through anew.
func (a *acceptor) tls(ctx context.Context, c *Conn) (again bool, err error) {
	src := &c.stream.in.source
	for {
		hello, n, err := faketls.ParseClientHello(src.Bytes())
		if errors.Is(err, faketls.ErrIncomplete) {
			if err := a.more(ctx, c, n); err != nil {
				return false, err
			}
			continue
		}
		why := err
		if err == nil && len(a.settings.Secrets) > 0 && !c.transport.TLS {
			secret, err := a.checkHello(ctx, &hello, n)
			if err == nil {
				return false, a.fakeTLS(ctx, c, &hello, n, secret)
			}
			why = err
		}
		// Someone who knows a key but has a wrong clock, name, or an old
		// hello is not to be taken for anything else.
		if why != nil && !errors.Is(why, faketls.ErrNoMatch) && !errors.Is(why, faketls.ErrMalformed) || a.settings.FakeTLSOnly {
			return false, a.unknown(c, why)
		}
		real := a.settings.TLS != nil && !c.transport.TLS && a.settings.open()
		if err == nil && real {
			return true, a.realTLS(ctx, c)
		}
		var unknown *UnknownError
		if err := a.obfuscated(ctx, c); !errors.As(err, &unknown) {
			return false, err
		}
		if real {
			// FakeTLS wants more of a hello than TLS does.
			return true, a.realTLS(ctx, c)
		}
		return false, a.unknown(c, why)
	}
}

// fakeTLS answers a hello that was found good, and goes on inside.
func (a *acceptor) fakeTLS(ctx context.Context, c *Conn, hello *faketls.ClientHello, n, secret int) error {
	var shape faketls.ServerHelloShape
	if a.settings.Flight != nil {
		shape = a.settings.Flight(hello.SNI)
	}
	flight, err := faketls.AppendServerHello(nil, hello, a.settings.Secrets[secret].Key, shape, a.settings.Rand)
	if err != nil {
		return err
	}
	c.stream.in.source.Consume(n)
	c.transport.FakeTLS, c.transport.ServerName = true, hello.SNI
	a.secret = a.settings.secretFor(secret, hello.SNI)
	c.transport.Secret = a.secret
	conn := a.below(c)
	conn.SetWriteDeadline(a.until)
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	if _, err := conn.Write(flight); err != nil {
		stop()
		return handshakeError(ctx, err)
	}
	if !stop() {
		return ctx.Err()
	}
	conn.SetWriteDeadline(time.Time{})
	a.on(c, faketls.NewConn(conn, frame.Server), a.obfuscated)
	return a.obfuscated(ctx, c)
}

// realTLS takes TLS off.
func (a *acceptor) realTLS(ctx context.Context, c *Conn) error {
	limited, cancel := context.WithDeadline(ctx, a.until)
	defer cancel()
	conn := tls.Server(a.below(c), a.settings.TLS)
	if err := conn.HandshakeContext(limited); err != nil {
		return handshakeError(ctx, err)
	}
	c.transport.TLS, c.transport.ServerName = true, conn.ConnectionState().ServerName
	a.on(c, conn, a.first)
	return nil
}

// handshakeError tells the caller's context from the handshake's own time.
func handshakeError(ctx context.Context, err error) error {
	if !netx.IsTimeout(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return ErrHandshakeTimeout
}

// webSocket upgrades, and goes on inside, where only an init payload may be.
func (a *acceptor) webSocket(ctx context.Context, c *Conn) error {
	limited, cancel := context.WithDeadline(ctx, a.until)
	defer cancel()
	ws, err := wsconn.Server(limited, a.below(c), a.settings.WebSocket)
	if err != nil {
		return handshakeError(ctx, err)
	}
	c.transport.Carrier, c.websocket = WebSocket, ws
	a.on(c, ws, a.obfuscated)
	return a.obfuscated(ctx, c)
}

// http ends the handshake with a connection that carries requests.
func (a *acceptor) http(c *Conn) {
	config := httpconn.ServerConfig{}
	if a.settings.HTTP != nil {
		config = *a.settings.HTTP
	}
	if a.settings.MaxLength > 0 {
		config.MaxLength = a.settings.MaxLength
	}
	conn := a.below(c)
	c.stream.in.deadline.Close() // httpconn follows contexts by itself
	c.transport.Carrier, c.transport.Secret = HTTP, -1
	c.http = httpconn.NewServer(conn, &config)
}

// below returns the layer read from so far, with what was read and not used
// put back in front. The source is empty afterwards, and follows no context.
func (a *acceptor) below(c *Conn) net.Conn {
	a.layered = true
	c.stream.in.deadline.SetLimit(time.Time{})
	if rest := c.stream.in.source.Take(); len(rest) > 0 {
		return &replayConn{Conn: a.conn, rest: rest}
	}
	return a.conn
}

// on puts conn on top: it is what is read from now, and step goes on with it.
func (a *acceptor) on(c *Conn, conn net.Conn, step func(context.Context, *Conn) error) {
	a.conn, a.step = conn, step
	c.stream.in.source.Reset(conn)
	c.stream.in.deadline.Rebind(conn.SetReadDeadline)
}

// refuse deals with a stranger: by handing the connection over, or by reading
// on in silence.
func (a *acceptor) refuse(ctx context.Context, c *Conn, unknown *UnknownError, why error) {
	src := &c.stream.in.source
	if a.settings.Unknown != nil {
		c.stream.in.deadline.Close()
		c.net.SetReadDeadline(time.Time{})
		src.Release()
		a.settings.Unknown(ctx, &replayConn{Conn: c.net, rest: unknown.First}, why)
		c.net.Close()
		return
	}
	if errors.Is(why, io.ErrUnexpectedEOF) || errors.Is(why, ErrHandshakeTimeout) {
		return
	}
	src.Release()
	sink := bufpool.Get(bufpool.Min)
	defer bufpool.Put(sink)
	for {
		if _, err := c.net.Read(sink.B); err != nil {
			return
		}
	}
}

// replayConn is a connection of which a part has been read already.
type replayConn struct {
	net.Conn
	rest []byte
}

// Read gives what was read before, and then reads on.
func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Replayed returns what was read before and is still to be read, and the
// connection that what follows comes from: for who can do better with a bare
// socket.
func (c *replayConn) Replayed() ([]byte, net.Conn) { return c.rest, c.Conn }

// CloseWrite ends the sending direction, where the connection can.
func (c *replayConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
