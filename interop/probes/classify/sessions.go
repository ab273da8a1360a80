package classify

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	utls "github.com/refraction-networking/utls"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/interop/probes/h2"
	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/mtwiretest"
)

const (
	// sessionTimeout bounds a session without its idle time.
	sessionTimeout = 20 * time.Second
	// closeWait is the time that a server has to answer a FIN.
	closeWait = time.Second
)

// phases are the times at which the parts of a session begin.
type phases struct {
	bulk, idle, close time.Duration
	keepAlives        int // while it was idle
}

// session is what a client does until it is idle. It calls bulk when the bulk
// begins.
type session func(ctx context.Context, conn net.Conn, bulk func()) error

// record runs a session through a relay, and returns its shape. After it the
// connection is idle for some time, and ends with the client's FIN.
func record(ctx context.Context, address string, act session, idle time.Duration) (shape Shape, err error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout+idle)
	defer cancel()
	r, err := startRelay(ctx, address)
	if err != nil {
		return shape, err
	}
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", r.address())
	if err != nil {
		r.stop()
		return shape, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	var p phases
	if err := act(ctx, conn, func() { p.bulk = r.now() }); err != nil {
		conn.Close()
		r.stop()
		return shape, err
	}
	time.Sleep(500 * time.Millisecond) // until everything is acknowledged
	p.idle = r.now()
	p.keepAlives = r.countKeepAlives(idle)
	p.close = r.now()
	conn.(*net.TCPConn).CloseWrite()
	for end := time.Now().Add(closeWait); time.Now().Before(end) && r.snapshot().Down.End == ""; {
		time.Sleep(10 * time.Millisecond)
	}
	return newShape(r.stop(), p), nil
}

// browserSession is a browser's session at a site. The large page is the bulk.
func browserSession(protocol string, pages []string) session {
	return func(ctx context.Context, conn net.Conn, bulk func()) error {
		client, err := browser(ctx, conn, protocol)
		if err != nil {
			return err
		}
		get := http1Getter(client)
		if client.ConnectionState().NegotiatedProtocol == "h2" {
			h2client := h2.New(client, site.Domain)
			get = func(path string) (int, error) {
				answer, err := h2client.Get(path)
				return len(answer.Body), err
			}
		}
		for _, path := range pages {
			if path == site.LargePage {
				bulk()
			}
			n, err := get(path)
			if err != nil {
				return err
			}
			if path == site.LargePage && n != site.LargeSize {
				return fmt.Errorf("%s has %d bytes", path, n)
			}
		}
		return nil
	}
}

// browser makes the handshake of a browser.
func browser(ctx context.Context, conn net.Conn, protocol string) (*utls.UConn, error) {
	kind := helloKinds[0]
	spec, err := utls.UTLSIdToSpec(kind.id)
	if err != nil {
		return nil, err
	}
	for _, e := range spec.Extensions {
		if alpn, ok := e.(*utls.ALPNExtension); ok && protocol != "h2" {
			alpn.AlpnProtocols = []string{protocol}
		}
	}
	client := utls.UClient(&openConn{conn}, &utls.Config{ServerName: site.Domain, InsecureSkipVerify: true}, utls.HelloCustom)
	if err := client.ApplyPreset(&spec); err != nil {
		return nil, err
	}
	return client, client.HandshakeContext(ctx)
}

// openConn is a connection that its user cannot close.
type openConn struct{ net.Conn }

func (openConn) Close() error { return nil }

// http1Getter returns a function that requests a path over HTTP/1.1, and returns the
// length of the page. It must not be called concurrently.
func http1Getter(conn io.ReadWriter) func(path string) (int, error) {
	answers := bufio.NewReader(conn)
	return func(path string) (int, error) {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, site.Domain); err != nil {
			return 0, err
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		return int(n), err
	}
}

// idleRecords returns the lengths of the records that a site sends after a handshake
// without a request: its session tickets.
func idleRecords(ctx context.Context, address string) (lengths []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	r, err := startRelay(ctx, address)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.address())
	if err == nil {
		defer conn.Close()
		_, err = browser(ctx, conn, "http/1.1")
		time.Sleep(500 * time.Millisecond)
	}
	shape := newShape(r.snapshot(), phases{bulk: time.Hour, idle: time.Hour, close: time.Hour})
	if conn != nil {
		conn.Close()
	}
	r.stop()
	return shape.After, err
}

// A request of the Telegram client names a number of answers and the bytes of each.
const (
	smallAnswer = 200
	partSize    = 128 << 10 // of a file that is downloaded
	parts       = 24
)

func request(answers, size uint32) []byte {
	b := make([]byte, 64)
	binary.LittleEndian.PutUint32(b, answers)
	binary.LittleEndian.PutUint32(b[4:], size)
	message, _ := mtwiretest.Seal(b, frame.Client)
	return message
}

// telegramSession is a Telegram client's session through the proxy: small requests,
// some of which want a quick acknowledgement, and a file.
func telegramSession(host, port string) session {
	return func(ctx context.Context, conn net.Conn, bulk func()) error {
		ep, err := mtwire.ParseEndpoint(fmt.Sprintf("tg://proxy?server=%s&port=%s&secret=%s", host, port, probe.Secret))
		if err != nil {
			return err
		}
		client, err := mtwire.Client(ctx, &openConn{conn}, ep, nil)
		if err != nil {
			return err
		}
		exchange := func(p mtwire.Packet, answers int) error {
			if err := client.SendPacket(ctx, p); err != nil {
				return err
			}
			for answers > 0 {
				got, err := client.Receive(ctx)
				if err != nil {
					return err
				}
				if got.Kind == mtwire.KindPayload {
					answers--
				}
			}
			return nil
		}
		for i := range 4 {
			if err := exchange(mtwire.Packet{Payload: request(1, smallAnswer), AckWanted: i%2 == 1}, 1); err != nil {
				return err
			}
		}
		bulk()
		for range parts / 2 {
			if err := exchange(mtwire.Packet{Payload: request(2, partSize)}, 2); err != nil {
				return err
			}
		}
		return nil
	}
}

// dataCenter answers the requests of telegramSession.
type dataCenter struct {
	address string
	stop    func()
}

func startDataCenter(ctx context.Context) (*dataCenter, error) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ln.Serve(ctx, serveRequests)
	}()
	return &dataCenter{ln.Addr().String(), func() { cancel(); <-done }}, nil
}

func serveRequests(ctx context.Context, conn *mtwire.Conn) {
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			return
		}
		data, token, err := mtwiretest.Open(p.Payload, frame.Client)
		if err != nil || len(data) < 8 {
			return
		}
		if p.AckWanted {
			if err := conn.SendPacket(ctx, mtwire.Packet{Kind: mtwire.KindQuickAck, Token: token}); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // the answer comes from another machine
		}
		for range binary.LittleEndian.Uint32(data) {
			message, _ := mtwiretest.Seal(make([]byte, binary.LittleEndian.Uint32(data[4:])), frame.Server)
			if err := conn.Send(ctx, message); err != nil {
				return
			}
		}
	}
}
