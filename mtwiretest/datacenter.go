package mtwiretest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
)

// Config configures NewDataCenter. The zero value, or nil in its place, accepts
// every transport without a secret and drops the events.
type Config struct {
	// Secrets are the secrets of MTProxy clients that the data centre accepts
	// beside clients without a secret.
	Secrets []mtwire.Secret
	// Log is called for every event; see DataCenter.Log.
	Log func(Event)
}

// DataCenter is a loopback data centre. NewDataCenter returns one that is
// listening; for a listener with other settings, set Listener and call Serve. Its
// methods may be called concurrently.
type DataCenter struct {
	// Listener accepts the connections.
	Listener *mtwire.Listener
	// ClientTLS is the configuration of a client that trusts the certificate of
	// the data centre. NewDataCenter sets it.
	ClientTLS *tls.Config
	// Log is called for every event, one call at a time. It must not change while
	// the data centre serves. nil drops the events.
	Log func(Event)

	mu   sync.Mutex // held while Log runs
	stop func()     // nil if NewDataCenter did not start the data centre
}

// NewDataCenter starts a data centre on a free port of 127.0.0.1: every framing,
// plain and obfuscated, on every carrier, with TLS and without. It panics if it
// cannot listen. The caller calls Close when finished, to shut it down.
func NewDataCenter(config *Config) *DataCenter {
	if config == nil {
		config = &Config{}
	}
	server, client, err := Certificate()
	if err != nil {
		panic("mtwiretest: " + err.Error())
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
		Secrets: config.Secrets, AllowNoSecret: true, ObfuscatedFull: true, TLS: server,
	})
	if err != nil {
		panic("mtwiretest: " + err.Error())
	}
	dc := &DataCenter{Listener: ln, ClientTLS: client, Log: config.Log}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		dc.Serve(ctx)
	}()
	dc.stop = func() { cancel(); <-served }
	return dc
}

// Addr returns the address that the data centre listens on.
func (dc *DataCenter) Addr() net.Addr { return dc.Listener.Addr() }

// Close shuts down a data centre of NewDataCenter: it closes the listener and all
// connections, and waits until the last event is logged. A second call does
// nothing. Log must not call it.
func (dc *DataCenter) Close() {
	if dc.stop != nil {
		dc.stop()
	}
}

// Serve serves Listener until ctx ends or the listener fails. It closes the
// listener and all connections, and returns the cause. Data centres of
// NewDataCenter are served already.
func (dc *DataCenter) Serve(ctx context.Context) error {
	return dc.Listener.Serve(ctx, dc.handle)
}

func (dc *DataCenter) log(conn *mtwire.Conn, e Event) {
	if dc.Log == nil {
		return
	}
	e.Time, e.Remote = time.Now(), conn.RemoteAddr().String()
	dc.mu.Lock()
	defer dc.mu.Unlock()
	dc.Log(e)
}

func (dc *DataCenter) handle(ctx context.Context, conn *mtwire.Conn) {
	if err := conn.Handshake(ctx); err != nil {
		if !errors.Is(err, io.EOF) { // EOF: the client sent nothing
			dc.log(conn, Event{Event: "refused", Error: err.Error()})
		}
		return
	}
	dc.log(conn, Connected(conn.Transport()))
	closed := Event{Event: "closed"}
	if err := dc.exchange(ctx, conn); err != io.EOF {
		closed.Error = err.Error()
	}
	dc.log(conn, closed)
}

// exchange answers requests until the connection ends, and returns the cause:
// io.EOF if the client closed it.
func (dc *DataCenter) exchange(ctx context.Context, conn *mtwire.Conn) error {
	serverNonce := newNonce()
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		r := replyTo(p.Payload, serverNonce)
		ack := p.AckWanted
		dc.log(conn, Event{Event: "request", Request: r.request, Bytes: len(p.Payload), QuickAck: &ack, Answer: r.name})
		if ack && r.token != 0 {
			if err := conn.SendPacket(ctx, mtwire.Packet{Kind: mtwire.KindQuickAck, Token: r.token}); err != nil {
				return err
			}
		}
		if r.code != 0 {
			err = conn.SendError(ctx, r.code)
		} else {
			err = conn.Send(ctx, r.message)
		}
		if err != nil {
			return err
		}
	}
}

// reply is the answer to one payload: a message or a transport error.
type reply struct {
	request string // name of the request, for events
	name    string // name of the answer, for events
	message []byte
	code    uint32 // transport error, 0 if message is the answer
	token   uint32 // quick acknowledgement, sent if the client requested one
}

// replyTo returns a data centre's answer: resPQ to req_pq and req_pq_multi, an
// echo to a message under AuthKey, and error 404 to everything else. 404 stands
// for an unknown auth key and for a failed key exchange.
func replyTo(payload []byte, serverNonce [nonceLength]byte) reply {
	notFound := func(request string) reply {
		return reply{request: request, name: "-404", code: frame.CodeAuthKeyAbsent}
	}
	if len(payload) >= 8 && binary.LittleEndian.Uint64(payload) != 0 {
		data, token, err := Open(payload, frame.Client)
		switch {
		case errors.Is(err, errUnknownKey):
			return notFound("encrypted message under an unknown key")
		case err != nil:
			return notFound(err.Error())
		}
		message, _ := Seal(data, frame.Server)
		return reply{request: "encrypted message", name: "echo", message: message, token: token}
	}
	body, err := openUnencrypted(payload)
	if err != nil {
		return notFound(err.Error())
	}
	if len(body) < 4 {
		return notFound("unencrypted message without an object")
	}
	name := ""
	switch constructor := binary.LittleEndian.Uint32(body); constructor {
	case reqPQ:
		name = "req_pq"
	case reqPQMulti:
		name = "req_pq_multi"
	default:
		return notFound(fmt.Sprintf("unencrypted object %08x", constructor))
	}
	if len(body) < requestLength {
		return notFound(name + " without a nonce")
	}
	nonce := [nonceLength]byte(body[4:])
	return reply{request: name, name: "resPQ", message: appendResPQ(nil, nonce, serverNonce)}
}
