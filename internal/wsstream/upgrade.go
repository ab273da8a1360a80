package wsstream

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/mtwire/mtwire/internal/netx"
)

// Request is the request for a WebSocket.
type Request struct {
	// Host is the host, with a port if it is not the usual one.
	Host string
	// Path begins with a slash.
	Path string
	// Subprotocol is the only one that is offered, and must be echoed.
	Subprotocol string
	// Origin and UserAgent are a browser's.
	Origin, UserAgent string
}

// StatusError is an answer that is no WebSocket, as its HTTP status.
type StatusError int

func (s StatusError) Error() string {
	text := fmt.Sprintf("the WebSocket server responded %d %s", int(s), http.StatusText(int(s)))
	if s/100 == 3 {
		text += ", a redirect: one of Telegram's hosts does not serve this data centre then"
	}
	return text
}

// maxResponseHead limits the head of the answer, with those of the interim ones before it, in
// bytes.
const maxResponseHead = 16 << 10

// Upgrade asks for a WebSocket on conn, which the result owns. On error conn stays open.
func Upgrade(ctx context.Context, conn net.Conn, request Request) (c *Conn, err error) {
	err = netx.Interruptible(ctx, conn.SetDeadline, func() error {
		c, err = upgrade(conn, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func upgrade(conn net.Conn, r Request) (*Conn, error) {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	key := base64.StdEncoding.EncodeToString(nonce)
	if _, err := conn.Write(r.head(key)); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxResponseHead}
	reader := bufio.NewReader(limited)
	if first, _ := reader.Peek(len(settingsFrame)); isHTTP2(first) {
		return nil, errHTTP2
	}
	response, err := netx.ReadFinalResponse(reader, &http.Request{Method: http.MethodGet})
	switch {
	case err != nil && limited.N == 0:
		return nil, fmt.Errorf("the head of the WebSocket server's response is longer than %d bytes", maxResponseHead)
	case err != nil:
		return nil, fmt.Errorf("response of the WebSocket server: %w", netx.Brief(err))
	}
	// The body of a refusal is not closed, which would read it: conn is the caller's.
	if err := r.check(response, key); err != nil {
		return nil, err
	}
	leftover, _ := reader.Peek(reader.Buffered())
	return &Conn{Conn: conn, leftover: leftover}, nil
}

// settingsFrame is how a server of HTTP/2 begins, but for the length of the frame and its
// flags.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9113#section-3.4
const settingsFrame = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// isHTTP2 reports whether a server that was asked by HTTP/1.1 speaks HTTP/2.
func isHTTP2(first []byte) bool {
	return len(first) == len(settingsFrame) && first[0] == 0 && string(first[3:]) == settingsFrame[3:]
}

var errHTTP2 = errors.New("the server speaks HTTP/2 only, and not HTTP/1.1, which a WebSocket needs")

// head returns the request, with the fields in Chrome's order. Compression is not
// offered: what is encrypted does not become shorter.
func (r *Request) head(key string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", r.Path)
	for _, field := range [...][2]string{
		{"Host", r.Host},
		{"Connection", "Upgrade"},
		{"Pragma", "no-cache"},
		{"Cache-Control", "no-cache"},
		{"User-Agent", r.UserAgent},
		{"Upgrade", "websocket"},
		{"Origin", r.Origin},
		{"Sec-WebSocket-Version", "13"},
		{"Accept-Encoding", "gzip, deflate, br, zstd"},
		{"Accept-Language", "en-US,en;q=0.9"},
		{"Sec-WebSocket-Key", key},
		{"Sec-WebSocket-Protocol", r.Subprotocol},
	} {
		if field[1] != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", field[0], field[1])
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// check returns an error unless response upgrades the connection.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-4.1
func (r *Request) check(response *http.Response, key string) error {
	switch h := response.Header; {
	case response.StatusCode != http.StatusSwitchingProtocols:
		return StatusError(response.StatusCode)
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"), h.Get("Sec-WebSocket-Accept") != accept(key):
		return errors.New("the server did not upgrade to WebSocket")
	case !strings.EqualFold(h.Get("Sec-WebSocket-Protocol"), r.Subprotocol):
		return errors.New("the WebSocket server did not echo the sub-protocol " + r.Subprotocol)
	case h.Get("Sec-WebSocket-Extensions") != "":
		return errors.New("the WebSocket server uses an extension that was not offered")
	}
	return nil
}

// accept returns the server's answer to a key.
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
