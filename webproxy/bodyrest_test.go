//go:build !js

package webproxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A body that is not read has a time limit, whatever the answer to its request is.
func TestABodyThatIsNotReadIsCutOff(t *testing.T) {
	for name, head := range map[string]string{
		"no sequence": "POST /" + pathUp + " HTTP/1.1\r\nHost: " + testHost + "\r\nAuthorization: Bearer %s\r\nContent-Type: " + bodyType + "\r\n",
		"busy":        "POST /" + pathUp + " HTTP/1.1\r\nHost: " + testHost + "\r\nAuthorization: Bearer %s\r\nContent-Type: " + bodyType + "\r\nX-Up-Seq: 1\r\n",
		"poll":        "POST /" + pathDown + " HTTP/1.1\r\nHost: " + testHost + "\r\nAuthorization: Bearer %s\r\nX-Down-Cursor: 0\r\n",
		"page":        "GET /?bridge=%s HTTP/1.1\r\nHost: " + testHost + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			served(t, HTTPS, func(t *testing.T, h *handler, ln *pipeListener) {
				secret := h.session()
				switch name {
				case "page":
					secret = h.link.Capability().String()
				case "busy":
					parsed, _ := parseToken(secret)
					m := h.find(parsed).mux
					m.charge(maxIncoming)
					defer m.unreserve(maxIncoming)
				}
				conn := ln.dial()
				defer conn.Close()
				start := time.Now()
				fmt.Fprintf(conn, head+"Content-Length: 1000\r\n\r\n", secret)
				defer time.AfterFunc(time.Hour, func() { conn.Close() }).Stop()
				r := bufio.NewReader(conn)
				resp, err := http.ReadResponse(r, nil)
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					io.Copy(io.Discard, r)
				}
				if d := time.Since(start); d > 2*ioTime {
					t.Errorf("%v, %v after %v", resp, err, d)
				}
			})
		})
	}
}
