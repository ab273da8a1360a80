package gotd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"

	"github.com/mtwire/mtwire"
)

// HTTPDataCenter is a data centre over HTTP, where a session has no connection of its own:
// its requests come on several, each answered by what the session has at that time, and
// http_wait by what it gets later. gotd's test server has a session on one connection.
// It has the methods of NewServer. All methods may be called concurrently.
//
// Specification: https://core.telegram.org/mtproto/service_messages#long-polling
type HTTPDataCenter struct {
	key    exchange.PrivateKey
	dc     int
	cipher crypto.Cipher
	ids    *proto.MessageIDGen

	mu        sync.Mutex
	exchanges map[bin.Int128]*httpExchange
	keys      map[[8]byte]crypto.AuthKey
	sessions  map[sessionID]*httpSession
	conns     map[*mtwire.Conn]bool
	stored    []byte // by upload.saveFilePart
	stats     HTTPStats
}

// HTTPStats counts what clients have done.
type HTTPStats struct {
	Keys, Sessions    int
	Connections       int // until now
	Waits, Unanswered int // of http_wait, and those that ended without a message
	// SessionConnections is the most connections that a session has had.
	SessionConnections int
}

// sessionID is a client's session, whose number another key may have as well.
type sessionID struct {
	key [8]byte
	id  int64
}

// httpSession is a session, with the messages that wait for a request.
type httpSession struct {
	key   crypto.AuthKey
	id    int64
	queue []proto.Message
	added chan struct{} // has an element after something was queued
	conns map[*mtwire.Conn]bool
}

// NewHTTPDataCenter returns a data centre without clients.
func NewHTTPDataCenter(key exchange.PrivateKey, dc int) *HTTPDataCenter {
	return &HTTPDataCenter{
		key: key, dc: dc, cipher: crypto.NewServerCipher(rand.Reader), ids: proto.NewMessageIDGen(time.Now),
		exchanges: map[bin.Int128]*httpExchange{}, keys: map[[8]byte]crypto.AuthKey{},
		sessions: map[sessionID]*httpSession{}, conns: map[*mtwire.Conn]bool{},
	}
}

// Handle serves a connection over HTTP.
func (d *HTTPDataCenter) Handle(ctx context.Context, conn *mtwire.Conn) {
	d.mu.Lock()
	d.conns[conn] = true
	d.stats.Connections++
	d.mu.Unlock()
	defer func() {
		conn.Close()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, conn)
	}()
	for {
		packet, err := conn.Receive(ctx)
		if err != nil {
			return
		}
		if keyID(packet.Payload) == noKey {
			err = d.exchange(ctx, conn, packet.Payload)
		} else {
			err = d.message(ctx, conn, packet.Payload)
		}
		if err != nil {
			return
		}
	}
}

// Stats returns the counts of now.
func (d *HTTPDataCenter) Stats() HTTPStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Push sends updates to all sessions, of its own accord.
func (d *HTTPDataCenter) Push(updates tg.UpdatesClass) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sessions {
		if err := d.queue(s, proto.MessageFromServer, updates); err != nil {
			return err
		}
	}
	return nil
}

// CloseConnections closes all connections, in the middle of their requests.
func (d *HTTPDataCenter) CloseConnections() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.conns {
		conn.Close()
	}
}

// httpExchange is a key exchange, whose requests may come on different connections. They
// have the same nonce.
type httpExchange struct{ requests, answers chan []byte }

func (e *httpExchange) Send(ctx context.Context, b *bin.Buffer) error {
	select {
	case e.answers <- bytes.Clone(b.Buf):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *httpExchange) Recv(ctx context.Context, b *bin.Buffer) error {
	select {
	case request := <-e.requests:
		b.ResetTo(request)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *httpExchange) Close() error { return nil }

// exchangeLimit bounds the time of a key exchange.
const exchangeLimit = 30 * time.Second

// exchange answers a request of a key exchange.
func (d *HTTPDataCenter) exchange(ctx context.Context, conn *mtwire.Conn, message []byte) error {
	if len(message) < 40 {
		return errors.New("a short message without a key")
	}
	nonce := bin.Int128(message[24:40])
	d.mu.Lock()
	e := d.exchanges[nonce]
	if e == nil {
		e = &httpExchange{make(chan []byte), make(chan []byte)}
		d.exchanges[nonce] = e
		go d.run(nonce, e)
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()
	select {
	case e.requests <- bytes.Clone(message):
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case answer := <-e.answers:
		return conn.Send(ctx, answer)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *HTTPDataCenter) run(nonce bin.Int128, e *httpExchange) {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeLimit)
	defer cancel()
	result, err := exchange.NewExchanger(e, d.dc).Server(d.key).Run(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.exchanges, nonce)
	if err == nil {
		d.keys[result.Key.ID] = result.Key
		d.stats.Keys++
	}
}

// message answers an encrypted message by what its session has, or gets in time.
func (d *HTTPDataCenter) message(ctx context.Context, conn *mtwire.Conn, encrypted []byte) error {
	d.mu.Lock()
	key, known := d.keys[keyID(encrypted)]
	d.mu.Unlock()
	if !known {
		return conn.SendError(ctx, 404)
	}
	message, err := d.cipher.DecryptFromBuffer(key, &bin.Buffer{Buf: bytes.Clone(encrypted)})
	if err != nil {
		return err
	}
	s, wait, err := d.receive(conn, key, message)
	if err != nil {
		return err
	}
	queue, err := d.answer(ctx, s, wait)
	switch {
	case err != nil:
		return err
	case len(queue) == 0:
		return conn.SendEmpty(ctx)
	}
	answer, err := d.encrypt(s, queue)
	if err != nil {
		return err
	}
	if err = conn.Send(ctx, answer); err != nil { // another request gets them
		d.mu.Lock()
		defer d.mu.Unlock()
		s.queue = append(queue, s.queue...)
		s.signal()
	}
	return err
}

// receive handles a message, and returns its session and how long it waits for more.
func (d *HTTPDataCenter) receive(conn *mtwire.Conn, key crypto.AuthKey, message *crypto.EncryptedMessageData) (*httpSession, time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := sessionID{key.ID, message.SessionID}
	s := d.sessions[id]
	if s == nil {
		s = &httpSession{key: key, id: message.SessionID, added: make(chan struct{}, 1), conns: map[*mtwire.Conn]bool{}}
		d.sessions[id] = s
		d.stats.Sessions++
		if err := d.queue(s, proto.MessageFromServer, &mt.NewSessionCreated{FirstMsgID: message.MessageID}); err != nil {
			return nil, 0, err
		}
	}
	s.conns[conn] = true
	d.stats.SessionConnections = max(d.stats.SessionConnections, len(s.conns))
	wait, err := d.handle(s, message.MessageID, &bin.Buffer{Buf: message.Data()})
	if wait > 0 {
		d.stats.Waits++
	}
	return s, wait, err
}

// queue adds a message to those of a session. Under mu.
func (d *HTTPDataCenter) queue(s *httpSession, kind proto.MessageType, object bin.Encoder) error {
	var b bin.Buffer
	if err := object.Encode(&b); err != nil {
		return fmt.Errorf("%T: %w", object, err)
	}
	s.queue = append(s.queue, proto.Message{ID: d.ids.New(kind), Bytes: b.Len(), Body: b.Buf})
	s.signal()
	return nil
}

// signal wakes a request that waits.
func (s *httpSession) signal() {
	select {
	case s.added <- struct{}{}:
	default:
	}
}

// answer returns the messages of a session; nil if there is none within wait.
func (d *HTTPDataCenter) answer(ctx context.Context, s *httpSession, wait time.Duration) ([]proto.Message, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		d.mu.Lock()
		queue := s.queue
		s.queue = nil
		d.mu.Unlock()
		if len(queue) > 0 {
			return queue, nil
		}
		select {
		case <-s.added:
		case <-timer.C:
			d.mu.Lock()
			defer d.mu.Unlock()
			if wait > 0 {
				d.stats.Unanswered++
			}
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// encrypt returns a message of a session, in a container if there are several.
func (d *HTTPDataCenter) encrypt(s *httpSession, queue []proto.Message) ([]byte, error) {
	id, body := queue[0].ID, queue[0].Body
	if len(queue) > 1 {
		var b bin.Buffer
		if err := (&proto.MessageContainer{Messages: queue}).Encode(&b); err != nil {
			return nil, err
		}
		id, body = d.ids.New(proto.MessageFromServer), b.Buf
	}
	var b bin.Buffer
	err := d.cipher.Encrypt(s.key, crypto.EncryptedMessageData{
		SessionID: s.id, MessageID: id, MessageDataLen: int32(len(body)), MessageDataWithPadding: body,
	}, &b)
	return b.Buf, err
}
