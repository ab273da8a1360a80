package relay_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/relay"
)

// framings are the transports whose packets have different forms.
var framings = []string{
	"tcp://HOST:PORT?protocol=abridged",
	"tcp://HOST:PORT?protocol=intermediate",
	"tcp://HOST:PORT?protocol=padded",
	"tcp://HOST:PORT?protocol=full",
	"ws://HOST:PORT/apiws?protocol=padded",
	"http://HOST:PORT/api",
}

// eachFraming runs a test for clients and servers of each pair of framings.
func eachFraming(t *testing.T, handle func(context.Context, *mtwire.Conn), run func(ctx context.Context, t *testing.T, client *mtwire.Conn, from, to string)) {
	server := listen(t, nil, handle)
	for _, to := range framings {
		address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, to, server)}}, nil)
		for _, from := range framings {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				client, err := mtwire.DialEndpoint(ctx, endpoint(t, from, address), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				run(ctx, t, client, from, to)
			})
		}
	}
}

func isPadded(endpoint string) bool { return strings.Contains(endpoint, "padded") }
func isHTTP(endpoint string) bool   { return strings.HasPrefix(endpoint, "http") }

// Every code of a transport error arrives, from the one that has no HTTP status to the
// largest; HTTP has a status in its place.
func TestTransportErrorsOfEachFraming(t *testing.T) {
	codes := []uint32{1, 403, 404, 429, 444, 503, 12345, 1 << 31}
	refuse := func(ctx context.Context, conn *mtwire.Conn) {
		for {
			packet, err := conn.Receive(ctx)
			if err != nil {
				return
			}
			conn.SendError(ctx, codes[packet.Payload[0]])
		}
	}
	eachFraming(t, refuse, func(ctx context.Context, t *testing.T, client *mtwire.Conn, from, to string) {
		for i, code := range codes {
			if strings.HasPrefix(from, "ws") || strings.HasPrefix(to, "ws") {
				i, code = 2, codes[2] // one ends a WebSocket
			}
			if err := client.Send(ctx, message(byte(i), 16)); err != nil {
				t.Fatal(err)
			}
			want := code
			if over := isHTTP(from) || isHTTP(to); over && (code < 300 || code > 999) {
				want = http.StatusInternalServerError
			}
			var got *mtwire.TransportError
			if _, err := client.Receive(ctx); !errors.As(err, &got) || got.Code != want {
				t.Fatalf("code %d arrives as %v", code, err)
			}
			if strings.HasPrefix(from, "ws") || strings.HasPrefix(to, "ws") {
				break
			}
		}
	})
}

// Padding is passed on where both ends have it, drawn where one has it, and never part of
// the message: of an encrypted one, of one with a length, and after the most that clients
// send.
func TestPaddingOfEachFraming(t *testing.T) {
	unencrypted := make([]byte, 40)
	unencrypted[8], unencrypted[16] = 1, 20
	type packet struct{ payload, padding []byte }
	packets := []packet{
		{message(echo, 16), nil}, {message(echo, 16), []byte{}}, {message(echo, 16), []byte("123")},
		{message(echo, 16), []byte("fifteen bytes..")}, {unencrypted, bytes.Repeat([]byte("p"), 256)},
	}
	// The padding comes back in the answer, and behind it.
	reflect := func(ctx context.Context, conn *mtwire.Conn) {
		for {
			p, err := conn.Receive(ctx)
			if err != nil {
				return
			}
			answer := make([]byte, 24+16*20)
			answer[0], answer[1], answer[2] = 1, byte(len(p.Padding)), byte(len(p.Padding)>>8)
			copy(answer[8:], p.Padding)
			if !bytes.Equal(p.Payload, message(echo, 16)) && !bytes.Equal(p.Payload, unencrypted) {
				answer[3] = 1
			}
			if len(p.Padding) > 15 {
				p.Padding = nil // more is not told from the message
			}
			conn.SendPacket(ctx, mtwire.Packet{Payload: answer, Padding: p.Padding})
		}
	}
	eachFraming(t, reflect, func(ctx context.Context, t *testing.T, client *mtwire.Conn, from, to string) {
		for _, sent := range packets {
			if !isPadded(from) {
				sent.padding = nil
			}
			request := mtwire.Packet{Payload: sent.payload, Padding: sent.padding}
			if err := client.SendPacket(ctx, request); err != nil {
				t.Fatal(err)
			}
			answer, err := client.Receive(ctx)
			if err != nil || len(answer.Payload) != 24+16*20 || answer.Payload[3] != 0 {
				t.Fatalf("%d bytes, %v", len(answer.Payload), err)
			}
			length := int(answer.Payload[1]) | int(answer.Payload[2])<<8
			got := answer.Payload[8:][:length]
			switch {
			case !isPadded(to) && length != 0:
				t.Errorf("%d bytes of padding arrive in a framing without", length)
			case isPadded(to) && isPadded(from) && sent.padding != nil && !bytes.Equal(got, sent.padding):
				t.Errorf("padding %q arrives as %q", sent.padding, got)
			case isPadded(to) && !isPadded(from) && length > 15:
				t.Errorf("%d bytes of padding are drawn", length)
			case isPadded(from) && isPadded(to) && length < 16 && !bytes.Equal(answer.Padding, got):
				t.Errorf("the server's padding %q arrives as %q", got, answer.Padding)
			case !isPadded(from) && len(answer.Padding) != 0:
				t.Errorf("%d bytes of padding come back in a framing without", len(answer.Padding))
			}
		}
	})
}

// The longest message that one framing has fits all others: padding, which counts as well,
// is left out.
func TestTheLongestMessageFitsEachFraming(t *testing.T) {
	longest := message(echo, 0)
	longest = append(longest, make([]byte, (frame.DefaultMaxLength-len(longest))/16*16)...)
	server := listen(t, nil, serve)
	for _, pair := range [][2]int{{1, 2}, {2, 5}} {
		from, to := framings[pair[0]], framings[pair[1]]
		address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, to, server)}}, nil)
		client, err := mtwire.DialEndpoint(t.Context(), endpoint(t, from, address), nil)
		if err != nil {
			t.Fatal(err)
		}
		packet := mtwire.Packet{Payload: longest}
		if isPadded(from) {
			packet.Padding = []byte{}
		}
		go client.SendPacket(t.Context(), packet)
		if got, err := client.Receive(t.Context()); err != nil || !bytes.Equal(got.Payload, longest) {
			t.Errorf("%s to %s: %d bytes, %v", from, to, len(got.Payload), err)
		}
		client.Close()
	}
}

// A packet that the server's transport has no form for ends its client, and an empty one
// that no transport has. The server is not avoided afterwards.
func TestPacketsWithoutAFormEndTheirClient(t *testing.T) {
	server := listen(t, nil, serve)
	address, r := start(t, relay.Config{To: []mtwire.Endpoint{
		endpoint(t, "http://HOST:PORT/api", server), endpoint(t, "http://HOST:PORT/api", "127.0.0.1:1"),
	}}, nil)
	for name, bad := range map[string][]byte{
		"four bytes":                  {0xef, 1, 1, 2, 3, 4},
		"an empty abridged packet":    {0xef, 0},
		"an empty intermediate one":   {0xee, 0xee, 0xee, 0xee, 0, 0, 0, 0},
		"an empty padded one":         {0xdd, 0xdd, 0xdd, 0xdd, 0, 0, 0, 0},
		"three bytes of a padded one": {0xdd, 0xdd, 0xdd, 0xdd, 3, 0, 0, 0, 1, 2, 3},
	} {
		socket, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		socket.Write(bad)
		if n, err := socket.Read(make([]byte, 16)); n > 0 || err == nil {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		socket.Close()
	}
	client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(t.Context(), message(echo, 16)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Receive(t.Context()); err != nil {
		t.Error(err)
	}
	if stats := r.Stats(); stats.Failed != 1 {
		t.Errorf("%+v", stats)
	}
}

// A web server in front of a data centre over HTTP, behind which nothing is, is no answer:
// the next endpoint gets the packet. Without a next one the client gets the status.
func TestAFrontThatHasNoServerIsSkipped(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusForbidden, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sorry", status) }))
		defer front.Close()
		broken := endpoint(t, "http://HOST:PORT/api", front.Listener.Addr().String())
		good := endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve))
		for _, to := range [][]mtwire.Endpoint{{broken, good}, {broken}} {
			address, _ := start(t, relay.Config{To: to}, nil)
			client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			client.Send(t.Context(), message(echo, 16))
			_, err = client.Receive(t.Context())
			var code *mtwire.TransportError
			if len(to) == 2 && err != nil || len(to) == 1 && (!errors.As(err, &code) || int(code.Code) != status) {
				t.Errorf("status %d of %d endpoints: %v", status, len(to), err)
			}
		}
	}
}
