package vectors_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/wsconn"
)

// head returns the head of an HTTP request: its lines, and an empty one. It returns
// nil if the case has no lines.
func (r *reader) head() []byte {
	var b []byte
	for _, line := range r.all("head") {
		b = append(append(b, line...), "\r\n"...)
	}
	if len(b) > 0 {
		b = append(b, "\r\n"...)
	}
	return b
}

// response is an HTTP response.
type response struct {
	status int
	header http.Header
	body   []byte
	rest   []byte // the bytes after the response to an upgrade
}

func readResponse(r io.Reader) (response, error) {
	br := bufio.NewReader(r)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return response{}, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		rest, err := io.ReadAll(br)
		return response{status: resp.StatusCode, header: resp.Header, rest: rest}, err
	}
	body, err := io.ReadAll(resp.Body)
	return response{status: resp.StatusCode, header: resp.Header, body: body}, err
}

// exchange sends the pieces to the server serve, and returns its response.
func exchange(pieces [][]byte, serve func(conn net.Conn) error) (response, error) {
	near, far := duplexPipe()
	sent := far.send(pieces)
	served := make(chan error, 1)
	go func() {
		err := serve(near)
		near.Close()
		served <- err
	}()
	var got bytes.Buffer
	_, readErr := io.Copy(&got, far)
	err := errors.Join(<-served, readErr)
	far.Close()
	<-sent
	if err != nil {
		return response{}, err
	}
	return readResponse(&got)
}

func checkHTTPRequest(r *reader, d depth) error {
	wire := append(r.head(), r.bytes("body")...)
	ctx := context.Background()
	_, good := r.optional("payload")
	status := int64(http.StatusOK)
	if !good {
		status = r.number("status")
	}
	cors, _ := r.optional("cors")
	reply := bytes.Repeat([]byte("answer12"), 3)
	for pieces := range d.arrivals(wire) {
		got, err := exchange(pieces, func(conn net.Conn) error {
			server := httpconn.NewServer(conn, nil)
			packet, err := server.Receive(ctx)
			var refusal *httpconn.RequestError
			switch {
			case good && err == nil:
				if err := equal("payload", packet, r.bytes("payload")); err != nil {
					return err
				}
				return server.Send(ctx, reply)
			case good:
				return err
			case err == io.EOF && status == http.StatusOK: // after OPTIONS
				return nil
			case errors.As(err, &refusal):
				return same("status of the error", int64(refusal.Status), status)
			}
			return fmt.Errorf("received %x, %v", packet, err)
		})
		if err == nil {
			err = same("status", int64(got.status), status)
		}
		if good && err == nil {
			err = equal("response", got.body, reply)
		}
		if err == nil && (good || cors != "") {
			err = same("cors", got.header.Get("Access-Control-Allow-Origin") == "*", r.yes("cors"))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	return nil
}

// errorCode parses "error N".
func errorCode(result string) (code uint32, ok bool) {
	_, err := fmt.Sscanf(result, "error %d", &code)
	return code, err == nil && result == fmt.Sprintf("error %d", code)
}

var aRequest = bytes.Repeat([]byte("request!"), 5)

func checkHTTPAnswer(r *reader, d depth) error {
	status, body, result := r.number("status"), r.bytes("body"), r.text("result")
	code, isError := errorCode(result)
	wire := append(fmt.Appendf(nil, "HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n", status, len(body)), body...)
	for pieces := range d.arrivals(wire) {
		got, err := post(pieces)
		var told *frame.TransportError
		var failed *httpconn.PostError
		switch {
		case err == nil && bytes.Equal(got, secondBody):
			err = same("result", "nothing", result)
		case err == nil:
			err = errors.Join(same("result", "payload", result), equal("payload", got, body))
		case errors.As(err, &told) && isError:
			err = same("code", told.Code, code)
		case errors.As(err, &failed) && errors.Is(err, httpconn.ErrLength):
			err = same("result", "malformed", result)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	if !r.yes("encode") {
		return nil
	}
	ctx := context.Background()
	request := fmt.Appendf(nil, "POST /api HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", len(aRequest), aRequest)
	got, err := exchange([][]byte{request}, func(conn net.Conn) error {
		server := httpconn.NewServer(conn, nil)
		if _, err := server.Receive(ctx); err != nil {
			return err
		}
		switch {
		case isError:
			return server.SendError(ctx, code)
		case len(body) == 0:
			return server.SendEmpty(ctx)
		}
		return server.Send(ctx, body)
	})
	return errors.Join(err, same("status sent", int64(got.status), status), equal("body sent", got.body, body))
}

// secondBody is the response after that of a case. A client receives it if the
// first one has no packet.
var secondBody = bytes.Repeat([]byte("second12"), 3)

// post sends two requests with a client. The responses are the pieces, and
// secondBody. It returns the first packet or error that the client receives.
func post(pieces [][]byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	responses := [][][]byte{pieces, {append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(secondBody)), secondBody...)}}
	served := make(chan struct{})
	dialled := make(chan net.Conn, 2)
	go func() {
		defer close(served)
		var conn net.Conn
		var br *bufio.Reader
		for _, pieces := range responses {
			for {
				if conn == nil {
					select {
					case conn = <-dialled:
						br = bufio.NewReader(conn)
					case <-ctx.Done():
						return
					}
				}
				req, err := http.ReadRequest(br)
				if err == nil {
					_, err = io.Copy(io.Discard, req.Body)
				}
				if err == nil {
					break
				}
				conn.Close() // the client dials again
				conn = nil
			}
			for _, piece := range pieces {
				if _, err := conn.Write(piece); err != nil {
					return
				}
			}
		}
	}()
	client, err := httpconn.NewClient("http://server.example/api", &httpconn.ClientConfig{
		MaxInFlight: 1,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			dialled <- far
			return near, nil
		},
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		client.Close()
		cancel()
		<-served
	}()
	if err := client.Send(ctx, aRequest); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { sent <- client.Send(ctx, aRequest) }()
	got, err := client.Receive(ctx)
	return got, errors.Join(err, <-sent)
}

func checkUpgrade(r *reader, d depth) error {
	status := int(r.number("status"))
	for pieces := range d.arrivals(r.head()) {
		got, err := exchange(pieces, func(conn net.Conn) error {
			_, err := wsconn.Server(context.Background(), conn, nil)
			var refusal *wsconn.HandshakeError
			switch {
			case err == nil:
				return same("status", http.StatusSwitchingProtocols, status)
			case errors.As(err, &refusal):
				return same("status of the error", refusal.Status, status)
			}
			return err
		})
		if err == nil {
			err = same("status", got.status, status)
		}
		if err == nil && status == http.StatusSwitchingProtocols {
			err = errors.Join(
				same("accept", got.header.Get("Sec-WebSocket-Accept"), r.text("accept")),
				same("sub-protocol", got.header.Get("Sec-WebSocket-Protocol"), "binary"))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	return nil
}

const upgradeRequest = "GET /apiws HTTP/1.1\r\nHost: server.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"

func checkClose(r *reader, d depth) error {
	wire, result := r.bytes("wire"), r.text("result")
	code, isError := errorCode(result)
	for pieces := range d.arrivals(wire) {
		err := readClose(pieces)
		var told *frame.TransportError
		switch {
		case errors.As(err, &told) && isError:
			err = same("code", told.Code, code)
		case err == io.EOF:
			err = same("result", "end", result)
		case strings.Contains(err.Error(), "peer closed with status"):
			err = same("result", "failure", result)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	if !r.yes("encode") {
		return nil
	}
	near, far := duplexPipe()
	sent := far.send([][]byte{[]byte(upgradeRequest)})
	closed := make(chan error, 1)
	go func() {
		ws, err := wsconn.Server(context.Background(), near, nil)
		if err == nil {
			err = ws.CloseTransportError(code)
		}
		near.Close()
		closed <- err
	}()
	got, err := readResponse(far)
	far.Close()
	<-sent
	return errors.Join(err, <-closed, equal("close frame", got.rest, wire))
}

// readClose connects a client to a server that sends the pieces after its response,
// and returns the error of the client's first Read.
func readClose(pieces [][]byte) error {
	near, far := duplexPipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		req, err := http.ReadRequest(bufio.NewReader(far))
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(far, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: binary\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		<-far.send(pieces)
		io.Copy(io.Discard, far)
	}()
	ws, err := wsconn.Dial(context.Background(), "ws://server.example/apiws", &wsconn.DialConfig{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil },
	})
	if err == nil {
		_, err = ws.Read(make([]byte, 1))
	}
	near.Close()
	far.Close()
	<-served
	return err
}

func checkDataCenter(r *reader, _ depth) error {
	number := r.number("dc")
	got, known := datacenter.Lookup(mtwire.DC(number))
	if r.flag("unknown") {
		return same("known", known, false)
	}
	expand := func(key, format string) string {
		var all []string
		for _, port := range []int{443, 80, 5222} {
			for _, addr := range r.all(key) {
				all = append(all, fmt.Sprintf(format, addr, port))
			}
		}
		return fmt.Sprint(all)
	}
	return errors.Join(
		same("known", known, true),
		same("dc", int64(got.DC), number),
		same("ipv4", fmt.Sprint(got.IPv4), expand("ipv4", "%s:%d")),
		same("ipv6", fmt.Sprint(got.IPv6), expand("ipv6", "[%s]:%d")),
		same("websocket", got.WebSocketURL(), r.text("websocket")),
		same("https", got.HTTPSURL(), r.text("https")))
}
