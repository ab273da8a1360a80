package vectors_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

func checkDetect(r *reader, _ depth) error {
	first := r.bytes("first")
	got := detect.First(first, 0)
	kind, ok := map[string]detect.Kind{
		"more": detect.More, "framed": detect.Framed, "http": detect.HTTP, "tls": detect.TLS, "obfuscated": detect.Obfuscated,
	}[r.text("result")]
	if !ok {
		return fmt.Errorf("no result %q", r.text("result"))
	}
	want := detect.Result{Kind: kind}
	switch kind {
	case detect.More:
		want.Need = int(r.number("need"))
	case detect.Framed:
		want.Protocol, want.Header = r.protocol("protocol"), int(r.number("header"))
	}
	if err := same("result", got, want); err != nil {
		return err
	}
	// For fewer bytes the result is the same or More, whose Need is never above
	// the number of bytes that decide.
	for n := range first {
		if r := detect.First(first[:n], 0); r != want && (r.Kind != detect.More || r.Need <= n || kind != detect.More && r.Need > len(first)) {
			return fmt.Errorf("%+v after %d bytes, %+v after all", r, n, want)
		}
	}
	return nil
}

// checkConnection tests a server, and for some layers also a client, with a whole
// connection.
func checkConnection(r *reader, d depth) error {
	config := mtwire.ListenConfig{
		Secrets: r.secrets(), AllowNoSecret: r.flag("allow-no-secret"), ObfuscatedFull: r.flag("obfuscated-full"),
	}
	if r.has("clock") {
		config.Time = func() time.Time { return time.Unix(r.number("clock"), 0) }
		r.number("clock")
	}
	wire := append(r.head(), r.bytes("wire")...)
	for pieces := range d.arrivals(wire) {
		if err := serve(r, config, pieces, wire); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
		if r.err != nil {
			return nil
		}
	}
	if layers, _ := r.optional("layers"); strings.HasPrefix(layers, "tcp, ") && !strings.Contains(layers, "faketls") {
		return checkClient(r, d, config, wire)
	}
	return nil
}

// checkClient tests a client that sends the packets of the case and receives the
// replies. It must send the bytes of the case, except for free ones.
func checkClient(r *reader, d depth, config mtwire.ListenConfig, wire []byte) error {
	ctx := context.Background()
	words := strings.Split(r.text("layers"), ", ")
	protocol, err := mtwire.ParseProtocol(words[len(words)-1])
	if err != nil {
		return err
	}
	ep := mtwire.Endpoint{Protocol: protocol, Obfuscated: len(words) == 3, DC: mtwire.DC(r.number("dc"))}
	if index := r.number("secret-index"); index >= 0 {
		ep.Secret = config.Secrets[index]
	}
	freeOffsets, err := free(r.c)
	if err != nil {
		return err
	}
	want := stream{packets: r.packets("reply")}
	replyWire, _ := r.optional("reply-wire")
	for pieces := range d.arrivals(r.hex("reply-wire", replyWire)) {
		near, far := duplexPipe()
		dial := mtwire.DialConfig{ObfuscatedFull: true, Rand: bytes.NewReader(append(bytes.Clone(wire[:min(56, len(wire))]), make([]byte, 8)...))}
		conn, err := mtwire.Client(ctx, near, ep, &dial)
		if ep.Obfuscated && obfuscation.Forbidden([8]byte(wire)) {
			if !errors.Is(err, io.EOF) {
				return fmt.Errorf("client began with % x, %v", wire[:8], err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		received := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(far)
			received <- b
		}()
		sent := far.send(pieces)
		for _, p := range r.packets("packet") {
			if err = conn.SendPacket(ctx, p); err != nil {
				break
			}
		}
		got := receiveAll(conn)
		conn.Close()
		<-sent
		b := <-received
		if len(b) == len(wire) {
			for offset := range freeOffsets {
				b[offset] = wire[offset]
			}
		}
		if err := errors.Join(err, equal("client sent", b, wire), got.diff(want)); err != nil {
			return fmt.Errorf("client, %s: %w", describe(pieces), err)
		}
	}
	return nil
}

func serve(r *reader, config mtwire.ListenConfig, pieces [][]byte, wire []byte) error {
	near, far := duplexPipe()
	handedOver := make(chan []byte, 1)
	config.Unauthenticated = func(_ context.Context, conn net.Conn, _ error) {
		b, _ := io.ReadAll(conn)
		handedOver <- b
	}
	conn := mtwire.Server(near, &config)
	sent := far.send(pieces)

	// Read until the expected bytes have arrived, or to the end: a server that
	// closes a WebSocket waits for the client.
	replyWire, hasReply := r.optional("reply-wire")
	want := r.hex("reply-wire", replyWire)
	received := make(chan []byte, 1)
	go func() {
		var got []byte
		buf := make([]byte, 4096)
		for {
			n, err := far.Read(buf)
			got = append(got, buf[:n]...)
			if tail := afterHandshake(got, r); hasReply && len(tail) >= len(want) || err != nil {
				far.in.Close()
				received <- tail
				return
			}
		}
	}()
	err := converse(r, conn, handedOver, wire)
	if conn.Transport().FakeTLS {
		conn.Close() // sends what is too short for a record, and waits for more
	}
	near.Close()
	got := <-received
	<-sent
	if err == nil && hasReply {
		err = equal("reply-wire", got, want)
	}
	return err
}

// converse receives the packets of the case and sends the replies.
func converse(r *reader, conn *mtwire.Conn, handedOver <-chan []byte, wire []byte) error {
	ctx := context.Background()
	if word, ok := r.optional("error"); ok {
		err := conn.Handshake(ctx)
		var unknown *mtwire.UnauthenticatedError
		if !errors.As(err, &unknown) || word != "unknown" {
			return fmt.Errorf("handshake: %v, want %s", err, word)
		}
		select {
		case b := <-handedOver:
			return equal("handed over", b, wire)
		default:
			return errors.New("the connection was not handed over")
		}
	}
	if err := conn.Handshake(ctx); err != nil {
		return err
	}
	transport := conn.Transport()
	name, _ := r.optional("server-name")
	if err := errors.Join(
		same("layers", transport.String(), r.text("layers")),
		same("dc", int64(transport.DC), r.number("dc")),
		same("secret-index", int64(transport.Secret), r.number("secret-index")),
		same("server-name", transport.ServerName, name)); err != nil {
		return err
	}
	var got stream
	packets, replies := r.packets("packet"), r.packets("reply")
	for range packets {
		p, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		got.packets = append(got.packets, clonePacket(p))
		if transport.Carrier != mtwire.HTTP {
			continue
		}
		// Each request needs a response before the next is read.
		response := mtwire.Packet{Payload: make([]byte, 84)}
		if len(replies) > 0 {
			response, replies = replies[0], replies[1:]
		}
		if err := conn.SendPacket(ctx, response); err != nil {
			return err
		}
	}
	if err := got.diff(stream{packets: packets}); err != nil {
		return err
	}
	closed := false
	for i, p := range replies {
		var err error
		if p.Kind == frame.KindTransportError && transport.Carrier == mtwire.WebSocket && i == len(replies)-1 {
			err, closed = conn.SendError(ctx, p.Code), true
		} else {
			err = conn.SendPacket(ctx, p)
		}
		if err != nil {
			return err
		}
	}
	if closed {
		return nil
	}
	if p, err := conn.Receive(ctx); err != io.EOF {
		return fmt.Errorf("after the replies: %+v, %v", p, err)
	}
	return nil
}

// afterHandshake removes the part of b that differs between connections: the head
// of HTTP responses, also of the one to a preflight, or the three records of a
// FakeTLS server's handshake.
func afterHandshake(b []byte, r *reader) []byte {
	head := r.c.All("head")
	for i, line := range head {
		if line == "" || i == len(head)-1 {
			_, b, _ = bytes.Cut(b, []byte("\r\n\r\n"))
		}
	}
	if len(head) > 0 {
		return b
	}
	if len(b) > 0 && b[0] == 0x16 {
		for range 3 {
			if len(b) < 5 || len(b) < 5+int(binary.BigEndian.Uint16(b[3:])) {
				return nil
			}
			b = b[5+int(binary.BigEndian.Uint16(b[3:])):]
		}
	}
	return b
}
