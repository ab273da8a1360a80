//go:build !js

package webproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// dialRaw opens a WebSocket of a session with a sub-protocol.
func dialRaw(t *testing.T, c *Client, protocol string) (*websocket.Conn, int) {
	t.Helper()
	ws, resp, err := websocket.Dial(t.Context(), "wss://"+c.link.Host+c.link.Base()+pathSocket, &websocket.DialOptions{
		HTTPClient: c.sockets, Subprotocols: []string{protocol},
	})
	if err != nil {
		if resp == nil {
			t.Fatal(err)
		}
		return nil, resp.StatusCode
	}
	t.Cleanup(func() { ws.CloseNow() })
	return ws, http.StatusSwitchingProtocols
}

// rawSession makes a session without its carrier.
func rawSession(t *testing.T, r *relay) *Client {
	t.Helper()
	c := r.dial(t, nil)
	if c.carrier == WebSocket {
		// The session's only socket is taken by the client: a second session is made
		// for the test.
		answer, err := c.do(t.Context(), request{name: "page", method: "GET", query: "bridge=" + c.link.Capability().String(), limit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		raw := &Client{link: c.link, header: c.header, http: c.http, sockets: c.sockets}
		raw.token, _ = findBootstrap(answer.body, c.link.Capability().String())
		answer, err = raw.do(t.Context(), request{name: "session", method: "POST", path: pathSession, body: [][]byte{AppendHello(nil)}, limit: 64})
		if err != nil {
			t.Fatal(err)
		}
		raw.token = answer.header.Get(headerToken)
		return raw
	}
	return c
}

// dead reports whether a socket ends.
func dead(ws *websocket.Conn) bool {
	for {
		if _, _, err := ws.Read(context.Background()); err != nil {
			return true
		}
	}
}

// A text, an empty message, one that is too long and one that is no batch end the
// socket, and with it the session.
func TestBadMessagesEndTheSocketAndItsSession(t *testing.T) {
	relay := newRelay(t, WebSocket, false, nil)
	for name, message := range map[string]struct {
		kind websocket.MessageType
		b    []byte
	}{
		"text": {websocket.MessageText, batch(open(1))}, "empty": {websocket.MessageBinary, nil}, "tail": {websocket.MessageBinary, append(batch(open(1)), 1)},
		"long":   {websocket.MessageBinary, append(bytes.Repeat(batch(Frame{DataFrame, 1, make([]byte, MaxPayload/2)}), 4), 1)},
		"closed": {websocket.MessageBinary, batch(closing(1))},
	} {
		t.Run(name, func(t *testing.T) {
			raw := rawSession(t, relay)
			ws, status := dialRaw(t, raw, subprotocol+raw.token)
			if ws == nil {
				t.Fatal(status)
			}
			if _, status := dialRaw(t, raw, subprotocol+raw.token); status != 404 {
				t.Errorf("a second socket: %d", status)
			}
			ws.Write(t.Context(), message.kind, message.b)
			dead(ws)
			// The other session is that of rawSession's client.
			eventually(t, "the session's end", func() bool { return relay.Stats().Sessions == 1 })
		})
	}
}

// In websocket-lanes an error ends one socket and its stream; the others go on.
func TestABadLaneEndsAlone(t *testing.T) {
	relay := newRelay(t, WebSocketLanes, false, nil)
	go relay.echo()
	client := rawSession(t, relay)
	other, err := client.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lane := func(id string) string { return laneSubprotocol + client.token + "." + id }
	for name, messages := range map[string][][]byte{
		"foreign id":    {batch(open(501)), batch(data(500, "x"))},
		"foreign first": {batch(open(500))},
		"without OPEN":  {batch(data(502, "x"))},
		"OPEN twice":    {batch(open(503)), batch(open(503))},
		"no frame":      {batch(open(504)), {1, 2, 3}},
		"PONG":          {batch(open(505)), batch(Frame{PongFrame, 0, nil})},
	} {
		t.Run(name, func(t *testing.T) {
			id := map[string]string{"foreign id": "501", "foreign first": "506", "without OPEN": "502", "OPEN twice": "503", "no frame": "504", "PONG": "505"}[name]
			ws, status := dialRaw(t, client, lane(id))
			if ws == nil {
				t.Fatal(status)
			}
			for _, message := range messages {
				ws.Write(t.Context(), websocket.MessageBinary, message)
			}
			dead(ws)
		})
	}
	for _, id := range []string{"501", "0", "16777216", "01", "+5", "", "5.5"} {
		if ws, status := dialRaw(t, client, lane(id)); ws != nil || status != 404 {
			t.Errorf("lane %q: status %d", id, status)
		}
	}
	if _, status := dialRaw(t, client, subprotocol+client.token); status != 404 {
		t.Errorf("the other carrier's sub-protocol: %d", status)
	}
	if err := exchange(other, 100_000, 1); err != nil {
		t.Error("the other stream:", err)
	}
	eventually(t, "one stream", func() bool { return relay.Stats().Streams == 1 })
}

// A lane whose socket is lost is a stream that ends, at both ends.
func TestALostSocketEndsItsStream(t *testing.T) {
	relay := newRelay(t, WebSocketLanes, false, nil)
	client := relay.dial(t, nil)
	conn, accepted := pair(t, client, relay)
	ws, status := dialRaw(t, client, laneSubprotocol+client.token+".77")
	if ws == nil {
		t.Fatal(status)
	}
	ws.Write(t.Context(), websocket.MessageBinary, batch(open(77), data(77, "abc")))
	lost, err := relay.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ws.CloseNow()
	if b, err := io.ReadAll(lost); string(b) != "abc" || err != io.ErrUnexpectedEOF {
		t.Errorf("%q, %v", b, err)
	}
	conn.Write([]byte("x"))
	if _, err := accepted.Read(make([]byte, 1)); err != nil {
		t.Error("the other stream:", err)
	}
}

// Every upgrade that is not a valid one of a session is the site's.
func TestOtherUpgradesAreTheSites(t *testing.T) {
	h := newHandler(t, WebSocket, nil)
	token := h.session()
	good := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==",
		"Sec-WebSocket-Protocol", subprotocol + token}
	change := func(name, value string) []string {
		headers := append([]string(nil), good...)
		for i := 0; i < len(headers); i += 2 {
			if headers[i] == name {
				headers[i+1] = value
			}
		}
		return headers
	}
	for name, headers := range map[string][]string{
		"no upgrade": change("Upgrade", "h2c"), "no connection": change("Connection", "close"), "version": change("Sec-WebSocket-Version", "8"),
		"key": change("Sec-WebSocket-Key", "short"), "token": change("Sec-WebSocket-Protocol", subprotocol+token[1:]),
		"key of 24 characters": change("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="), "key of 18 bytes": change("Sec-WebSocket-Key", strings.Repeat("A", 24)),
		"two": change("Sec-WebSocket-Protocol", subprotocol+token+", x"), "lane": change("Sec-WebSocket-Protocol", laneSubprotocol+token+".1"),
		"authorization": append(good, "Authorization", "Bearer "+token), "random": change("Sec-WebSocket-Protocol", subprotocol+new(tokenKey).issue(sessionToken).String()),
	} {
		h.want(h.do("GET", "/"+pathSocket, nil, headers...), 404, name)
	}
	h.want(h.do("POST", "/"+pathSocket, nil, good...), 404, "POST")
	h.want(h.do("GET", "/"+pathSocket+"?x", nil, good...), 404, "query")
}

// A message that comes with the upgrade is not lost, whatever its length.
func TestAMessageBehindTheUpgradeIsReceived(t *testing.T) {
	for _, size := range []int{1, 300, 3000} {
		served(t, WebSocket, func(t *testing.T, h *handler, ln *pipeListener) {
			token, conn := h.session(), ln.dial()
			defer conn.Close()
			message := batch(open(1), data(1, strings.Repeat("a", size)))
			frame := binary.BigEndian.AppendUint16([]byte{0x82, 0x80 | 126}, uint16(len(message)))
			frame = append(append(frame, 0, 0, 0, 0), message...) // a mask of zeros
			go io.Copy(io.Discard, conn)
			fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s%s\r\n\r\n%s", pathSocket, testHost, subprotocol, token, frame)
			stream, err := h.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(io.LimitReader(stream, int64(size))); len(b) != size || err != nil {
				t.Errorf("%d of %d bytes, %v", len(b), size, err)
			}
			stream.Close()
		})
	}
}
