package wsstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A refusal is told when its head has come: the page below it may never end.
func TestARefusalDoesNotWaitForItsPage(t *testing.T) {
	for _, length := range []string{"Content-Length: 100\r\n", ""} {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		go io.Copy(io.Discard, server)
		go server.Write([]byte("HTTP/1.1 404 Not Found\r\n" + length + "\r\nno"))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := Upgrade(ctx, client, Request{Host: "a.example", Path: "/", Subprotocol: "binary"})
		var status StatusError
		if !errors.As(err, &status) || status != 404 || ctx.Err() != nil {
			t.Errorf("%q: got %v, and %v of its time", length, err, ctx.Err())
		}
	}
}

// answering upgrades a connection to a server that answers each request with text, in which
// KEY is the answer to its key.
func answering(t *testing.T, text string) error {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go func() {
		request, err := http.ReadRequest(bufio.NewReader(server))
		if err == nil {
			io.WriteString(server, strings.ReplaceAll(text, "KEY", accept(request.Header.Get("Sec-WebSocket-Key"))))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := Upgrade(ctx, client, Request{Host: "a.example", Path: "/", Subprotocol: "binary"})
	return err
}

const upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: binary\r\n"

// Responses before the final one are skipped, but not without end, and their heads count.
func TestInterimResponsesAreSkipped(t *testing.T) {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for _, before := range []string{"", hints, "HTTP/1.1 100 Continue\r\n\r\n" + hints} {
		if err := answering(t, before+upgraded+"\r\n"); err != nil {
			t.Errorf("%q: %v", before, err)
		}
	}
	for name, endless := range map[string]string{
		"responses": strings.Repeat(hints, 10_000), "fields": upgraded + strings.Repeat("A: b\r\n", 10_000),
		"a line": "HTTP/1.1 101 " + strings.Repeat("x", 100_000),
	} {
		if err := answering(t, endless); err == nil || !strings.Contains(err.Error(), "longer than 16384 bytes") {
			t.Errorf("endless %s: %v", name, err)
		}
	}
}

// What is no HTTP/1.1, or no upgrade, is an error that tells what it is.
func TestWhatIsNoUpgradeIsTold(t *testing.T) {
	for answer, want := range map[string]string{
		"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 18): "speaks HTTP/2 only",
		"SSH-2.0-OpenSSH_9.2\r\n":                                                         "malformed HTTP",
		strings.Replace(upgraded, "KEY", "other", 1) + "\r\n":                             "did not upgrade",
		strings.Replace(upgraded, "websocket", "h2c", 1) + "\r\n":                         "did not upgrade",
		strings.Replace(upgraded, "binary", "chat", 1) + "\r\n":                           "did not echo",
		upgraded + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n":                 "extension",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n":             "200 OK",
		"HTTP/1.1 302 Found\r\nLocation: https://a.example/\r\nContent-Length: 0\r\n\r\n": "302 Found",
	} {
		if err := answering(t, answer); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", answer, err)
		}
	}
	// A log has a line for each attempt.
	if err := answering(t, strings.Repeat("garbage\x1b", 1000)+"\r\n\r\n"); err == nil || len(err.Error()) > 300 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
