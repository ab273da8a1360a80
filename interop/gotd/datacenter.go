package gotd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/tgtest"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// DataCenter is a data centre made of gotd's test servers, one for each client.
// The auth key of a later connection selects the server.
type DataCenter struct {
	// Key is the RSA key that clients trust.
	Key exchange.PrivateKey
	// Log is called, by one goroutine at a time, for every connection and for
	// every key exchange that starts. Nil means that they are not logged.
	Log func(mtwiretest.Event)

	mu      sync.Mutex
	servers map[[8]byte]*tgtest.Server
}

// Handle serves a connection that an mtwire.Listener accepted, until either side
// ends it. All goroutines that it starts have ended when it returns.
func (d *DataCenter) Handle(ctx context.Context, conn *mtwire.Conn) error {
	defer conn.Close()
	if err := conn.Handshake(ctx); err != nil {
		return err
	}
	d.log(conn, mtwiretest.Connected(conn.Transport()))
	first, err := receive(ctx, conn)
	if err != nil {
		return err
	}
	return d.bridge(ctx, conn, first, d.serverFor(first, conn.Transport()))
}

func (d *DataCenter) log(conn *mtwire.Conn, e mtwiretest.Event) {
	if d.Log == nil {
		return
	}
	e.Time, e.Remote = time.Now(), conn.RemoteAddr().String()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Log(e)
}

// serverFor returns the server that has the message's auth key. If there is none
// it returns a new server, with the DC id that the client requested.
func (d *DataCenter) serverFor(message []byte, t mtwire.Transport) *tgtest.Server {
	d.mu.Lock()
	defer d.mu.Unlock()
	if server := d.servers[keyID(message)]; server != nil {
		return server
	}
	dc := DC
	if t.Obfuscated && t.DC != 0 {
		dc = int(t.DC)
	}
	return NewServer(d.Key, dc)
}

// remember records that server has the auth key of a message.
func (d *DataCenter) remember(message []byte, server *tgtest.Server) {
	id := keyID(message)
	d.mu.Lock()
	defer d.mu.Unlock()
	if id == noKey || d.servers[id] != nil {
		return
	}
	if d.servers == nil {
		d.servers = map[[8]byte]*tgtest.Server{}
	}
	d.servers[id] = server
}

// noKey is the auth key id of unencrypted messages.
var noKey [8]byte

func keyID(message []byte) (id [8]byte) {
	copy(id[:], message)
	return id
}

// pipeProtocol is Intermediate without its header: the framing on the in-process
// pipes between an mtwire.Conn and gotd's server.
var pipeProtocol = transport.NewProtocol(func() transport.Codec { return codec.NoHeader{Codec: codec.Intermediate{}} })

// bridge connects a client's connection with a server. It forwards payloads both
// ways, and the server's transport errors.
func (d *DataCenter) bridge(ctx context.Context, conn *mtwire.Conn, message []byte, server *tgtest.Server) error {
	used := &sessions{all: map[int64]tgtest.Session{}}
	defer used.disconnect(server)
	ctx, cancel := context.WithCancel(context.WithValue(ctx, sessionsKey{}, used))
	inner, outer := net.Pipe()
	listener := newOneConnListener(inner)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	defer outer.Close()
	defer conn.Close()
	defer listener.Close()

	tasks.Go(func() { server.Serve(ctx, transport.ListenCodec(pipeProtocol.Codec, listener)) })
	inside, err := pipeProtocol.Handshake(outer)
	if err != nil {
		return err
	}
	request := requestName(message)
	tasks.Go(func() {
		defer conn.Close()
		d.forwardAnswers(ctx, conn, inside, request)
	})
	for {
		d.remember(message, server)
		// A copy, because gotd's codecs write behind the end of the message.
		if err := inside.Send(ctx, &bin.Buffer{Buf: bytes.Clone(withRSAPad(message, d.Key))}); err != nil {
			return err
		}
		if message, err = receive(ctx, conn); err != nil {
			return err
		}
	}
}

// forwardAnswers forwards the server's packets to the client until that fails.
// request is the name of the connection's first request.
func (d *DataCenter) forwardAnswers(ctx context.Context, conn *mtwire.Conn, inside transport.Conn, request string) {
	var b bin.Buffer
	for {
		err := inside.Recv(ctx, &b)
		var transportError *codec.ProtocolErr
		switch {
		case errors.As(err, &transportError):
			err = conn.SendError(ctx, uint32(transportError.Code))
		case err == nil:
			if request != "" && object(b.Buf) == resPQ {
				d.log(conn, mtwiretest.Event{Event: "request", Request: request, Answer: "resPQ"})
				request = ""
			}
			err = conn.Send(ctx, b.Buf)
		}
		if err != nil {
			return
		}
	}
}

// receive returns the next payload, which is valid until the next call.
func receive(ctx context.Context, conn *mtwire.Conn) ([]byte, error) {
	p, err := conn.Receive(ctx)
	if err != nil {
		return nil, err
	}
	if p.Kind != mtwire.KindPayload {
		return nil, fmt.Errorf("a client sent %v", p.Kind)
	}
	return p.Payload, nil
}

// Constructors of the first step of a key exchange.
// Specification: https://core.telegram.org/mtproto/auth_key#dh-exchange-initiation
const (
	reqPQ      = 0x60469778
	reqPQMulti = 0xbe7e8ef1
	resPQ      = 0x05162463
)

// object returns the constructor of an unencrypted message's object, or 0.
func object(message []byte) uint32 {
	if len(message) < 24 || keyID(message) != noKey {
		return 0
	}
	return binary.LittleEndian.Uint32(message[20:])
}

// requestName returns the name of the request if it starts a key exchange, or "".
func requestName(message []byte) string {
	switch object(message) {
	case reqPQ:
		return "req_pq"
	case reqPQMulti:
		return "req_pq_multi"
	}
	return ""
}

// oneConnListener is a listener that accepts one connection.
type oneConnListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newOneConnListener(conn net.Conn) *oneConnListener {
	l := &oneConnListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- conn
	return l
}

func (l *oneConnListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConnListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConnListener) Addr() net.Addr { return &net.TCPAddr{} }
