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
	// Fewer bytes lead to the same, or ask for more, and never for more than
	// it takes.
	for n := range first {
		if r := detect.First(first[:n], 0); r != want && (r.Kind != detect.More || r.Need <= n || kind != detect.More && r.Need > len(first)) {
			return fmt.Errorf("%+v after %d bytes, %+v after all", r, n, want)
		}
	}
	return nil
}

// checkConnection is a server, from the first byte to the last.
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
		return dialBack(r, d, config, wire)
	}
	return nil
}

// dialBack is a client that sends what the case says, and receives the
// replies. The bytes it sends are the case's, but for those that are free.
func dialBack(r *reader, d depth, config mtwire.ListenConfig, wire []byte) error {
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
	places, err := free(r.c)
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
			for at := range places {
				b[at] = wire[at]
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

	// What the server sends is read to the end, or until all has come that is
	// expected: a server that closes a WebSocket waits for the other side.
	replyWire, hasReply := r.optional("reply-wire")
	want := r.hex("reply-wire", replyWire)
	received := make(chan []byte, 1)
	go func() {
		var got []byte
		buf := make([]byte, 4096)
		for {
			n, err := far.Read(buf)
			got = append(got, buf[:n]...)
			if tail := behindHandshake(got, r); hasReply && len(tail) >= len(want) || err != nil {
				far.in.Close()
				received <- tail
				return
			}
		}
	}()
	err := converse(r, conn, handedOver, wire)
	near.Close()
	got := <-received
	<-sent
	if err == nil && hasReply {
		err = equal("reply-wire", got, want)
	}
	return err
}

// converse receives and answers as the case says.
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
		// Each request wants an answer before the next.
		answer := mtwire.Packet{Payload: make([]byte, 84)}
		if len(replies) > 0 {
			answer, replies = replies[0], replies[1:]
		}
		if err := conn.SendPacket(ctx, answer); err != nil {
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
		return fmt.Errorf("in the end: %+v, %v", p, err)
	}
	return nil
}

// behindHandshake cuts off what a server sends before the stream, and differs
// from one connection to the next: the head of an HTTP answer, the one to a
// preflight too, or a FakeTLS flight of three records.
func behindHandshake(b []byte, r *reader) []byte {
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
