//go:build !js

package webproxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// delayed is a direction of a connection whose bytes arrive after a time. It has no
// other limit.
type delayed struct {
	mu     sync.Mutex
	queue  []arrival
	closed bool
	wake   chan struct{}
	limit  deadline
}

type arrival struct {
	at time.Time
	b  []byte
}

func (d *delayed) write(p []byte, delay time.Duration) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, net.ErrClosed
	}
	d.queue = append(d.queue, arrival{time.Now().Add(delay), append([]byte(nil), p...)})
	notify(d.wake)
	return len(p), nil
}

func (d *delayed) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	notify(d.wake)
}

func (d *delayed) read(p []byte) (int, error) {
	for {
		d.mu.Lock()
		var wait <-chan time.Time
		if len(d.queue) > 0 {
			first := &d.queue[0]
			if left := time.Until(first.at); left > 0 {
				wait = time.After(left)
			} else {
				n := copy(p, first.b)
				if first.b = first.b[n:]; len(first.b) == 0 {
					d.queue = d.queue[1:]
				}
				d.mu.Unlock()
				return n, nil
			}
		} else if d.closed {
			d.mu.Unlock()
			notify(d.wake)
			return 0, io.EOF
		}
		d.mu.Unlock()
		select {
		case <-wait:
		case <-d.wake:
		case <-d.limit.wait():
			return 0, timeoutError{}
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// delayedConn is one end of a connection.
type delayedConn struct {
	net.Conn // nil: what is not defined here is not used
	in, out  *delayed
	delay    time.Duration
}

func (c *delayedConn) Read(p []byte) (int, error)         { return c.in.read(p) }
func (c *delayedConn) Write(p []byte) (int, error)        { return c.out.write(p, c.delay) }
func (c *delayedConn) Close() error                       { c.in.close(); c.out.close(); return nil }
func (c *delayedConn) LocalAddr() net.Addr                { return hostAddr("local") }
func (c *delayedConn) RemoteAddr() net.Addr               { return hostAddr("remote") }
func (c *delayedConn) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *delayedConn) SetReadDeadline(t time.Time) error  { c.in.limit.set(t); return nil }
func (c *delayedConn) SetWriteDeadline(t time.Time) error { return nil }

// At a round-trip time of 100 ms, https moves at least 18 MiB/s down: 2 MiB, the
// longest batch, for each round trip, but for the first ones, are 20.
func TestHTTPSKeepsTheLongestBatchInFlight(t *testing.T) {
	for name, http2 := range map[string]bool{"1.1": false, "2": true} {
		t.Run(name, func(t *testing.T) {
			// httptest's server has a certificate, which is made outside of the bubble.
			certificate := newRelay(t, HTTPS, http2, nil)
			synctest.Test(t, func(t *testing.T) { moveFarAway(t, certificate, http2) })
		})
	}
}

func moveFarAway(t *testing.T, certificate *relay, http2 bool) {
	const delay, size = 50 * time.Millisecond, 160 << 20
	h := newHandler(t, HTTPS, nil)
	ln := &pipeListener{make(chan net.Conn), make(chan struct{})}
	web := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: certificate.web.TLS.Certificates}}
	if !http2 {
		web.TLSConfig.NextProtos = []string{"http/1.1"}
		web.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	done := make(chan error)
	go func() { done <- web.ServeTLS(ln, "", "") }()
	client, err := Dial(t.Context(), h.link, &DialConfig{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			up, down := &delayed{wake: make(chan struct{}, 1)}, &delayed{wake: make(chan struct{}, 1)}
			ln.conns <- &delayedConn{in: up, out: down, delay: delay}
			return &delayedConn{in: down, out: up, delay: delay}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := h.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go accepted.Write(make([]byte, size))
	start := time.Now()
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Fatal(err)
	}
	rate := size / time.Since(start).Seconds() / (1 << 20)
	t.Logf("%.1f MiB/s", rate)
	if rate < 18 {
		t.Errorf("%.1f MiB/s", rate)
	}
	conn.Close()
	accepted.Close()
	client.Close()
	h.Close()
	web.Close()
	<-done
	time.Sleep(time.Second) // what is on its way arrives
}
