package wsconn

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// No error of an upgrade is longer than a few lines, whatever the server's response has.
func TestErrorsQuoteLittleOfAResponse(t *testing.T) {
	long := strings.Repeat("x", 12000)
	for _, fields := range []string{
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: LONG",
		"Upgrade: LONG\r\nConnection: Upgrade",
		"Upgrade: websocket\r\nConnection: LONG",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: LONG",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Extensions: LONG",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stop := loopback.Serve(ln, func(conn net.Conn) {
			request, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			fields := strings.NewReplacer("KEY", base64.StdEncoding.EncodeToString(sum[:]), "LONG", long).Replace(fields)
			io.WriteString(conn, "HTTP/1.1 101 S\r\n"+fields+"\r\n\r\n")
		})
		_, err = Dial(t.Context(), "ws://"+ln.Addr().String()+"/apiws", nil)
		var refused *HandshakeError
		if !errors.As(err, &refused) || len(err.Error()) > 1000 {
			t.Errorf("%s: %.300v", fields, err)
		}
		stop()
	}
}

// Nor is one of a request.
func TestErrorsQuoteLittleOfARequest(t *testing.T) {
	long := strings.Repeat("x", 6000)
	for _, head := range []string{
		"GET /" + long + " HTTP/1.1\r\n",
		"GET /apiws" + long + "\r\n",
		"GET /apiws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: binary\r\nConnection: " + long + "\r\n",
		"GET /apiws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: binary\r\nOrigin: " + long + "\r\n",
	} {
		ours, theirs := net.Pipe()
		go io.WriteString(theirs, head+"\r\n")
		go io.Copy(io.Discard, theirs)
		_, err := Server(t.Context(), ours, &ServerConfig{CheckOrigin: func(origin string) bool { return origin == "" }})
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.300v", err)
		}
		theirs.Close()
	}
}
