// Package mtwiretest is a data centre for loopback: it answers the first step of a
// key exchange, and messages under one key that everybody knows, as a data
// centre answers them, and says what it sees. Clients and proxies are tested
// against it, ours and others'.
package mtwiretest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
)

// Event is something that happened on a connection. Its JSON form has one
// object for each.
type Event struct {
	Time   time.Time `json:"time"`
	Event  string    `json:"event"` // connected, request, refused, closed
	Remote string    `json:"remote"`

	// Of connected: what the client chose. Tag is what names the framing
	// inside an init payload, in hex.
	Transport  string `json:"transport,omitempty"`
	Carrier    string `json:"carrier,omitempty"`
	Protocol   string `json:"protocol,omitempty"`
	Tag        string `json:"tag,omitempty"`
	DC         *int   `json:"dc,omitempty"` // only if obfuscated
	Secret     string `json:"secret,omitempty"`
	ServerName string `json:"server_name,omitempty"`

	// Of request: what came, and what was answered.
	Request  string `json:"request,omitempty"`
	Bytes    int    `json:"bytes,omitempty"`
	QuickAck *bool  `json:"quick_ack,omitempty"` // wanted
	Answer   string `json:"answer,omitempty"`

	// Of refused and closed: why.
	Error string `json:"error,omitempty"`
}

// String is the event in one line of text.
func (e Event) String() string {
	s := e.Remote + " " + e.Event
	switch e.Event {
	case "connected":
		s += ": " + e.Transport
		if e.Tag != "" {
			s += ", tag " + e.Tag
		}
		if e.DC != nil {
			s += ", " + mtwire.DC(*e.DC).Describe()
		}
		if e.Secret != "" {
			s += ", secret " + e.Secret
		}
		if e.ServerName != "" {
			s += ", server name " + e.ServerName
		}
	case "request":
		s += fmt.Sprintf(": %s, %d bytes", e.Request, e.Bytes)
		if e.QuickAck != nil && *e.QuickAck {
			s += ", quick ack wanted"
		}
		s += ", answered " + e.Answer
	}
	if e.Error != "" {
		s += ": " + e.Error
	}
	return s
}

// DataCenter is a data centre on a listener.
type DataCenter struct {
	// Listener takes the connections.
	Listener *mtwire.Listener
	// Log is called for every event, by one goroutine at a time. Nil means
	// that nobody wants to know.
	Log func(Event)

	mu sync.Mutex
}

// Serve serves until ctx ends, and closes the listener.
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
		if !errors.Is(err, io.EOF) { // a connection that never spoke
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

// Connected is the event that a connection with transport t has come, without
// its time and address.
func Connected(t mtwire.Transport) Event {
	e := Event{Event: "connected", Transport: t.String(), Carrier: t.Carrier.String(), ServerName: t.ServerName}
	if t.Protocol != 0 {
		e.Protocol = t.Protocol.String()
		if tag, ok := t.Protocol.Tag(); ok {
			e.Tag = fmt.Sprintf("%x", tag)
		}
	}
	if t.Obfuscated {
		dc := int(t.DC)
		e.DC = &dc
	}
	if t.Secret >= 0 {
		e.Secret = fmt.Sprintf("#%d", t.Secret+1)
	}
	return e
}

// exchange answers a connection's requests until it ends, and returns why:
// io.EOF if the client is done.
func (dc *DataCenter) exchange(ctx context.Context, conn *mtwire.Conn) error {
	serverNonce := newNonce()
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		a := answer(p.Payload, serverNonce)
		ack := p.AckWanted
		dc.log(conn, Event{Event: "request", Request: a.request, Bytes: len(p.Payload), QuickAck: &ack, Answer: a.name})
		if ack && a.token != 0 {
			if err := conn.SendPacket(ctx, mtwire.Packet{Kind: mtwire.KindQuickAck, Token: a.token}); err != nil {
				return err
			}
		}
		if a.code != 0 {
			err = conn.SendError(ctx, a.code)
		} else {
			err = conn.Send(ctx, a.message)
		}
		if err != nil {
			return err
		}
	}
}

// reply is what there is to say to one payload: a message, or an error code.
type reply struct {
	request string // what it was
	name    string // what the answer is
	message []byte
	code    uint32
	token   uint32 // owed if a quick acknowledgement is wanted
}

// answer does what a data centre does: resPQ for a request for it, an echo for
// a message under the key that it knows, and for all else -404, which stands
// for an unknown key and for an exchange that went wrong.
func answer(payload []byte, serverNonce [nonceLength]byte) reply {
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
