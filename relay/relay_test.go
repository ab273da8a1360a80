package relay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/relay"
)

const key = "000102030405060708090a0b0c0d0e0f"

var secrets = []string{key, "dd" + key, "ee" + key + "6578616d706c652e636f6d"}

// message returns an encrypted message, as far as a transport can tell: its length is that
// of one, and its first byte is kind.
func message(kind byte, length int) []byte {
	b := make([]byte, 24+80+length/16*16)
	for i := range b {
		b[i] = byte(i*7) + kind
	}
	b[0] = kind
	return b
}

const (
	echo     = 1
	unknown  = 2 // transport error 404
	token    = 0x80112233
	quick    = 3 // a quick acknowledgement, if one is requested, and the message
	announce = 4 // two messages
)

// serve answers messages until the client leaves.
func serve(ctx context.Context, conn *mtwire.Conn) {
	for {
		packet, err := conn.Receive(ctx)
		if err != nil {
			return
		}
		if packet.AckWanted {
			conn.SendPacket(ctx, mtwire.Packet{Kind: mtwire.KindQuickAck, Token: token})
		}
		switch packet.Payload[0] {
		case unknown:
			conn.SendError(ctx, 404)
			continue
		case announce:
			conn.Send(ctx, message(echo, 64))
		}
		conn.Send(ctx, packet.Payload)
	}
}

// listen serves connections of a listener's transports, until the test ends.
func listen(t *testing.T, config *mtwire.ListenConfig, handle func(context.Context, *mtwire.Conn)) string {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ln.Serve(ctx, handle)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return ln.Addr().String()
}

func endpoint(t *testing.T, format, address string) mtwire.Endpoint {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	text := strings.NewReplacer("HOST:PORT", address, "HOST", host, "PORT", port).Replace(format)
	ep, err := mtwire.ParseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

func start(t *testing.T, config relay.Config, listenConfig *mtwire.ListenConfig) (address string, r *relay.Relay) {
	t.Helper()
	r, err := relay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, listenConfig, r.Handle), r
}

// transports are the endpoints of a listener, without a secret and with.
var transports = []string{
	"tcp://HOST:PORT?protocol=abridged",
	"tcp://HOST:PORT?protocol=intermediate&obfuscated=true",
	"tcp://HOST:PORT?protocol=padded",
	"tcp://HOST:PORT?protocol=full",
	"tcp://HOST:PORT?protocol=full&obfuscated=true",
	"ws://HOST:PORT/apiws?protocol=abridged",
	"wss://HOST:PORT/apiws?protocol=padded",
	"http://HOST:PORT/api",
	"https://HOST:PORT/api",
	"tg://proxy?server=HOST&port=PORT&secret=" + secrets[0],
	"tg://proxy?server=HOST&port=PORT&secret=" + secrets[1],
	"tg://proxy?server=HOST&port=PORT&secret=" + secrets[2],
}

// quickAcks reports whether an endpoint's transport has quick acknowledgements.
func quickAcks(endpoint string) bool {
	return !strings.HasPrefix(endpoint, "http") && !strings.Contains(endpoint, "full")
}

// Every transport is passed on to every other, and a packet's bytes stay what they were.
func TestAnyTransportToAnyOther(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config := &mtwire.ListenConfig{AllowNoSecret: true, TLS: serverTLS, ObfuscatedFull: true}
	for _, text := range secrets {
		secret, err := mtwire.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Secrets = append(config.Secrets, secret)
	}
	dial := &mtwire.DialConfig{TLS: clientTLS, ObfuscatedFull: true}
	server := listen(t, config, serve)
	run := func(address, to string) {
		for _, from := range transports {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				conn, err := mtwire.DialEndpoint(ctx, endpoint(t, from, address), dial)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				exchange(ctx, t, conn, quickAcks(from) && quickAcks(to), !strings.HasPrefix(from, "http") && !strings.HasPrefix(to, "http"))
			})
		}
	}
	for _, to := range transports {
		address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, to, server)}, Dial: dial}, config)
		run(address, to)
	}
	web, webDial, _ := webProxy(t, serve)
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{web}, Dial: webDial}, config)
	run(address, "a WEB proxy")
}

// exchange sends messages of all kinds, of which HTTP has one answer each.
func exchange(ctx context.Context, t *testing.T, conn *mtwire.Conn, acks, pushes bool) {
	t.Helper()
	want := func(payload []byte) {
		t.Helper()
		packet, err := conn.Receive(ctx)
		if err != nil || packet.Kind != mtwire.KindPayload || !bytes.Equal(packet.Payload, payload) {
			t.Fatalf("received %v, %d bytes, %v; want %d bytes", packet.Kind, len(packet.Payload), err, len(payload))
		}
	}
	for _, length := range []int{16, 400, 416, 1024, 70_000, 300_000} { // with both forms of Abridged's length
		sent := message(echo, length)
		if err := conn.Send(ctx, sent); err != nil {
			t.Fatal(err)
		}
		want(sent)
	}
	sent := message(quick, 64)
	request := mtwire.Packet{Payload: sent, AckWanted: acks}
	if err := conn.SendPacket(ctx, request); err != nil {
		t.Fatal(err)
	}
	if acks {
		if packet, err := conn.Receive(ctx); err != nil || packet.Kind != mtwire.KindQuickAck || packet.Token != token {
			t.Fatalf("received %v %x, %v in place of a quick acknowledgement", packet.Kind, packet.Token, err)
		}
	}
	want(sent)
	if pushes {
		if err := conn.Send(ctx, message(announce, 64)); err != nil {
			t.Fatal(err)
		}
	}
	conn.Send(ctx, message(unknown, 64))
	for {
		packet, err := conn.Receive(ctx)
		var code *mtwire.TransportError
		if errors.As(err, &code) && code.Code == 404 {
			return
		}
		if err != nil || !pushes {
			t.Fatalf("received %d bytes, %v in place of transport error 404", len(packet.Payload), err)
		}
	}
}

// The number that a client asks for is the server's, too.
func TestDataCenterIsPassedOn(t *testing.T) {
	seen := make(chan mtwire.DC, 1)
	server := listen(t, nil, func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) == nil {
			seen <- conn.Transport().DC
			serve(ctx, conn)
		}
	})
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT?obfuscated=true", server)}}, nil)
	for _, dc := range []mtwire.DC{4, -4, 10002, 203} {
		conn, err := mtwire.DialEndpoint(t.Context(), endpoint(t, fmt.Sprintf("tcp://HOST:PORT?obfuscated=true&dc=%d", dc), address), nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(t.Context(), message(echo, 16))
		if got := <-seen; got != dc {
			t.Errorf("DC %d is passed on as %d", dc, got)
		}
		conn.Close()
	}
}

// refusing closes each connection after its first packet, or at once.
func refusing(t *testing.T, packets int) (address string, connections chan bool) {
	connections = make(chan bool, 100)
	return listen(t, nil, func(ctx context.Context, conn *mtwire.Conn) {
		connections <- true
		for range packets {
			conn.Receive(ctx)
		}
	}), connections
}

// A server that cannot be reached, or that ends the connection or is silent before its
// first packet, is replaced by the next one, which gets all packets, each once. It is
// then tried last.
func TestNextServerGetsThePackets(t *testing.T) {
	silent := listen(t, nil, func(ctx context.Context, conn *mtwire.Conn) {
		for {
			if _, err := conn.Receive(ctx); err != nil {
				return
			}
		}
	})
	closed, _ := refusing(t, 0)
	closes, _ := refusing(t, 2)
	good := listen(t, nil, serve)
	for name, first := range map[string]string{"refused": "127.0.0.1:1", "closed": closed, "closed after two packets": closes, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A server that does not fail has a limit, too, while there is another one.
			timeout, clients := time.Minute, int64(2)
			if name == "silent" {
				timeout, clients = 100*time.Millisecond, 1
			}
			address, r := start(t, relay.Config{
				To:            []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT?protocol=full", first), endpoint(t, "tcp://HOST:PORT?protocol=full", good)},
				AnswerTimeout: timeout,
			}, nil)
			for range clients {
				conn, err := mtwire.DialEndpoint(t.Context(), endpoint(t, "ws://HOST:PORT/apiws", address), nil) // whose end is told
				if err != nil {
					t.Fatal(err)
				}
				for i := range 4 {
					if err := conn.Send(t.Context(), message(echo, 16*(i+1))); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 4 {
					packet, err := conn.Receive(t.Context())
					if err != nil || len(packet.Payload) != 24+80+16*(i+1) {
						t.Fatalf("answer %d: %d bytes, %v", i, len(packet.Payload), err)
					}
				}
				conn.Close()
			}
			for r.Stats().Served < clients || r.Stats().Open > 0 { // the latter comes behind the former
				time.Sleep(time.Millisecond)
			}
			if stats := r.Stats(); stats.Failed != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

func TestClientEndsIfNoServerAnswers(t *testing.T) {
	closes, connections := refusing(t, 1)
	address, r := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", closes), endpoint(t, "tcp://HOST:PORT", "127.0.0.1:1")}}, nil)
	conn, err := mtwire.DialEndpoint(t.Context(), endpoint(t, "tcp://HOST:PORT", address), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Send(t.Context(), message(echo, 16))
	if _, err := conn.Receive(t.Context()); err == nil {
		t.Error("an answer of no server")
	}
	for r.Stats().Failed != 1 {
		time.Sleep(time.Millisecond)
	}
	if len(connections) != 1 {
		t.Errorf("%d connections to the server that closes them", len(connections))
	}
}

// A client that has closed its own direction still gets the answers.
func TestAnswersArriveAfterTheEndOfTheClientsStream(t *testing.T) {
	go1, sent := make(chan bool), message(echo, 64)
	server := listen(t, nil, func(ctx context.Context, conn *mtwire.Conn) {
		if _, err := conn.Receive(ctx); err == nil {
			<-go1
			conn.Send(ctx, sent)
		}
	})
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", server)}}, nil)
	socket, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	b := binary.LittleEndian.AppendUint32([]byte{0xee, 0xee, 0xee, 0xee}, uint32(len(sent)))
	socket.Write(append(b, sent...))
	socket.(*net.TCPConn).CloseWrite()
	close(go1)
	answer, err := io.ReadAll(socket)
	if err != nil || !bytes.Equal(answer[min(4, len(answer)):], sent) {
		t.Errorf("received %d bytes, %v", len(answer), err)
	}
}

func TestNewRefusesWhatCannotBeDialled(t *testing.T) {
	secret, _ := mtwire.ParseSecret(key)
	good := []mtwire.Endpoint{{}, {Address: "127.0.0.1:1"}}
	for name, config := range map[string]relay.Config{
		"nothing":                     {},
		"a secret without an address": {To: []mtwire.Endpoint{{Secret: secret}}},
		"an address without a port":   {To: append(good, mtwire.Endpoint{Address: "dc.example"})},
		"an unknown carrier":          {To: append(good, mtwire.Endpoint{Carrier: 255})},
		"a negative limit":            {To: good, MaxUnauthenticated: -1},
		"one of an address":           {To: good, MaxUnauthenticatedPerAddress: -1},
		"one of memory":               {To: good, MaxMemory: -1},
	} {
		if _, err := relay.New(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := relay.New(relay.Config{To: good}); err != nil {
		t.Error(err)
	}
}
