package probe

import (
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// httpProbes send HTTP without TLS.
func httpProbes() (all []Probe) {
	const host = "Host: example.com\r\n"
	for _, p := range []struct{ name, text string }{
		{"get", "GET / HTTP/1.1\r\n" + host + "User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"},
		{"get-1.0", "GET / HTTP/1.0\r\n\r\n"},
		{"get-0.9", "GET /\r\n"},
		{"get-no-host", "GET / HTTP/1.1\r\n\r\n"},
		{"get-unfinished", "GET / HTTP/1.1\r\n" + host},
		{"get-bare-lf", "GET / HTTP/1.1\nHost: example.com\n\n"},
		{"get-absolute", "GET http://example.com/ HTTP/1.1\r\n" + host + "\r\n"},
		{"get-bad-version", "GET / HTTP/9.9\r\n" + host + "\r\n"},
		{"get-two-spaces", "GET  / HTTP/1.1\r\n" + host + "\r\n"},
		{"get-folded", "GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n"},
		{"get-long-path", "GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\n" + host + "\r\n"},
		{"get-long-header", "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n"},
		{"get-twice", strings.Repeat("GET / HTTP/1.1\r\n"+host+"\r\n", 2)},
		{"lower-case", "get / http/1.1\r\n" + host + "\r\n"},
		{"head", "HEAD / HTTP/1.1\r\n" + host + "\r\n"},
		{"post", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\na=b"},
		{"post-api", "POST /api HTTP/1.1\r\n" + host + "Content-Length: 40\r\n\r\n" + strings.Repeat("\x00", 40)},
		{"post-unfinished", "POST / HTTP/1.1\r\n" + host + "Content-Length: 30\r\n\r\na=b"},
		{"post-chunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"},
		{"post-both-lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"post-continue", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"},
		{"put-short", "PUT /"},
		{"put", "PUT / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n"},
		{"patch", "PATCH / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n"},
		{"delete", "DELETE / HTTP/1.1\r\n" + host + "\r\n"},
		{"options", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n"},
		{"options-short", "OPTIONS / HTTP/1.0\r\n\r\n"},
		{"trace", "TRACE / HTTP/1.1\r\n" + host + "\r\n"},
		{"connect", "CONNECT example.com:443 HTTP/1.1\r\n" + host + "\r\n"},
		{"propfind", "PROPFIND / HTTP/1.1\r\n" + host + "\r\n"},
		{"unknown-method", "FROB / HTTP/1.1\r\n" + host + "\r\n"},
		{"upgrade-h2c", "GET / HTTP/1.1\r\n" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"},
		{"websocket", "GET /apiws HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"},
		{"h2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"h2-preface-settings", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
	} {
		repeat := 0
		if len(p.text) > 32<<10 { // servers stop to read it somewhere
			repeat = 5
		}
		all = append(all, Probe{Name: "http/" + p.name, Steps: send(p.text), Repeat: repeat})
	}
	return append(all, Probe{Name: "http/get-fin", Steps: sendFin("GET / HTTP/1.1\r\n" + host + "\r\n")})
}
