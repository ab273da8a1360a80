package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/relay"
)

// halfPipe is one end of a pipe whose directions end one by one, as those of TCP do.
type halfPipe struct {
	net.Conn          // for reading
	out      net.Conn // for writing
}

func newHalfPipe() (a, b *halfPipe) {
	r1, w1 := net.Pipe()
	r2, w2 := net.Pipe()
	return &halfPipe{r1, w2}, &halfPipe{r2, w1}
}

func (p *halfPipe) Write(b []byte) (int, error)        { return p.out.Write(b) }
func (p *halfPipe) CloseWrite() error                  { return p.out.Close() }
func (p *halfPipe) Close() error                       { return errors.Join(p.out.Close(), p.Conn.Close()) }
func (p *halfPipe) SetWriteDeadline(t time.Time) error { return p.out.SetWriteDeadline(t) }
func (p *halfPipe) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// halves is a relay between a client and servers, in a bubble, whose connections end in
// each direction of their own.
type halves struct {
	client  *mtwire.Conn
	servers chan *mtwire.Conn
	log     logLines
	stats   func() relay.Stats
	ended   chan bool // gets one when Handle returns
}

// listenAll accepts all transports, with secrets and without.
func listenAll(t *testing.T) *mtwire.ListenConfig {
	certificate, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config := &mtwire.ListenConfig{AllowNoSecret: true, ObfuscatedFull: true, TLS: certificate}
	for _, text := range secrets {
		secret, err := mtwire.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Secrets = append(config.Secrets, secret)
	}
	return config
}

// connectHalves has a client of one transport connected to servers of others.
func connectHalves(t *testing.T, client string, servers ...string) *halves {
	t.Helper()
	h := &halves{servers: make(chan *mtwire.Conn, 9), ended: make(chan bool, 9)}
	dial := &mtwire.DialConfig{ObfuscatedFull: true, TLS: &tls.Config{InsecureSkipVerify: true}}
	config := relay.Config{Dial: dial, Log: h.log.logger()}
	for range servers {
		config.To = append(config.To, endpoint(t, servers[len(config.To)], "192.0.2.1:443"))
	}
	accept, toRelay := listenAll(t), *dial
	dial.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := newHalfPipe()
		h.servers <- mtwire.Server(theirs, accept)
		return ours, nil
	}
	r, err := relay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	h.stats = r.Stats
	toRelay.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := newHalfPipe()
		go func() {
			r.Handle(context.Background(), mtwire.Server(ours, accept))
			h.ended <- true
		}()
		return theirs, nil
	}
	h.client, err = mtwire.DialEndpoint(t.Context(), endpoint(t, client, "192.0.2.2:443"), &toRelay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.client.Close() })
	if err := h.client.Send(t.Context(), message(echo, 64)); err != nil {
		t.Fatal(err)
	}
	return h
}

// server returns the next connection of a server, which has received the client's packet.
func (h *halves) server(t *testing.T) *mtwire.Conn {
	t.Helper()
	conn := <-h.servers
	t.Cleanup(func() { conn.Close() })
	receives(t, conn)
	return conn
}

// receives has a connection receive a packet.
func receives(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	if packet, err := conn.Receive(t.Context()); err != nil || len(packet.Payload) != len(message(echo, 64)) {
		t.Fatalf("%d bytes, %v", len(packet.Payload), err)
	}
}

// ends has a connection receive the end of the stream, so long after begun.
func ends(t *testing.T, conn *mtwire.Conn, begun time.Time, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if _, err := conn.Receive(ctx); err != io.EOF {
		t.Errorf("%v in place of the end", err)
	}
	if took := time.Since(begun); took < after || took > after+100*time.Millisecond {
		t.Errorf("the stream ends after %v, want %v", took, after)
	}
}

func sends(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	if err := conn.Send(t.Context(), message(echo, 64)); err != nil {
		t.Fatal(err)
	}
}

func closesWrite(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	if err := conn.CloseWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// overTCP are the transports that have a half-close in both directions.
func overTCP() (list []string) {
	for _, transport := range transports {
		if strings.HasPrefix(transport, "t") {
			list = append(list, transport)
		}
	}
	return list
}

// The end of a client's stream is passed on behind its packets, and the answers go on
// until the server ends, for as long as less than a minute is between two of them.
func TestTheEndOfAClientIsPassedOn(t *testing.T) {
	for _, client := range overTCP() {
		for _, server := range overTCP() {
			synctest.Test(t, func(t *testing.T) {
				h := connectHalves(t, client, server)
				begun := time.Now()
				conn := h.server(t)
				closesWrite(t, h.client)
				ends(t, conn, begun, 0)
				for range 3 {
					time.Sleep(50 * time.Second)
					sends(t, conn)
					receives(t, h.client)
				}
				conn.Close()
				ends(t, h.client, begun, 150*time.Second)
				<-h.ended
				if !strings.Contains(h.log.String(), "msg=relayed") {
					t.Errorf("%s to %s: %v", client, server, &h.log)
				}
			})
		}
	}
}

// HTTP to the server has the answers of the requests that have begun, and the session ends
// with the last one. Over WebSocket the server cannot know, and answers have three seconds.
func TestTheEndOfAClientWhoseServerHasNoHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := connectHalves(t, transports[0], "http://HOST:PORT/api")
		begun := time.Now()
		conn := h.server(t)
		closesWrite(t, h.client)
		time.Sleep(24 * time.Second)
		sends(t, conn)
		receives(t, h.client)
		ends(t, h.client, begun, 24*time.Second)
		<-h.ended
	})
	for _, server := range []string{"ws://HOST:PORT/apiws", "ws://HOST:PORT/apiws?protocol=padded"} {
		synctest.Test(t, func(t *testing.T) {
			h := connectHalves(t, transports[0], server)
			begun := time.Now()
			conn := h.server(t)
			closesWrite(t, h.client)
			for range 2 {
				time.Sleep(2 * time.Second)
				sends(t, conn)
				receives(t, h.client)
			}
			ends(t, conn, begun, 7*time.Second)
			<-h.ended
		})
	}
}

// A server that never ends is not waited for without end.
func TestAnEndedClientOfASilentServerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := connectHalves(t, transports[0], transports[3])
		begun := time.Now()
		conn := h.server(t)
		sends(t, conn)
		receives(t, h.client)
		closesWrite(t, h.client)
		ends(t, conn, begun, 0)
		ends(t, h.client, begun, time.Minute)
		<-h.ended
	})
}

// The end of a server's stream is passed on, too, and what the client sends goes on.
func TestTheEndOfAServerIsPassedOn(t *testing.T) {
	for _, client := range overTCP() {
		for _, server := range overTCP() {
			synctest.Test(t, func(t *testing.T) {
				h := connectHalves(t, client, server)
				begun := time.Now()
				conn := h.server(t)
				sends(t, conn)
				closesWrite(t, conn)
				receives(t, h.client)
				ends(t, h.client, begun, 0)
				for range 3 {
					time.Sleep(50 * time.Second)
					sends(t, h.client)
					receives(t, conn)
				}
				h.client.Close()
				ends(t, conn, begun, 150*time.Second)
				<-h.ended
			})
		}
	}
}

// A client over WebSocket or HTTP cannot know that only one direction has ended: both end.
func TestTheEndOfAServerWhoseClientHasNoHalfClose(t *testing.T) {
	for _, client := range []string{"ws://HOST:PORT/apiws", "http://HOST:PORT/api"} {
		synctest.Test(t, func(t *testing.T) {
			h := connectHalves(t, client, transports[0])
			begun := time.Now()
			conn := h.server(t)
			sends(t, conn)
			closesWrite(t, conn)
			receives(t, h.client)
			if strings.HasPrefix(client, "ws") {
				ends(t, h.client, begun, 0)
			}
			ends(t, conn, begun, 0)
			<-h.ended
		})
	}
}

// What a client over WebSocket has sent before its end arrives, though the server is slow
// and has answers for it.
func TestPacketsOfAWebSocketThatEndsArrive(t *testing.T) {
	for _, server := range []string{transports[0], transports[5]} {
		synctest.Test(t, func(t *testing.T) {
			h := connectHalves(t, "ws://HOST:PORT/apiws", server)
			conn := h.server(t)
			for range 20 {
				sends(t, h.client)
			}
			go h.client.Close()
			for range 20 {
				time.Sleep(100 * time.Millisecond)
				receives(t, conn)
				go conn.Send(t.Context(), message(echo, 64))
			}
			ends(t, conn, time.Now(), 0)
			conn.Close()
			<-h.ended
			if !strings.Contains(h.log.String(), "up_packets=21 ") {
				t.Error(&h.log)
			}
		})
	}
}

// A client over HTTP that leaves while its request is open is noticed at once, and one that
// has closed one direction only has three seconds for the response.
func TestTheEndOfAClientOverHTTPIsPassedOn(t *testing.T) {
	for _, server := range []string{transports[0], "ws://HOST:PORT/apiws", "http://HOST:PORT/api"} {
		synctest.Test(t, func(t *testing.T) {
			h := connectHalves(t, "http://HOST:PORT/api", server)
			begun := time.Now()
			conn := h.server(t)
			h.client.Close()
			after := time.Duration(0)
			if server != transports[0] {
				after = 3 * time.Second
			}
			ends(t, conn, begun, after)
			conn.Close()
			<-h.ended
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("%s: the session ends after %v", server, took)
			}
		})
	}
}

// The next server gets the packets and the end, and a server that ends behind the client's
// end has not failed.
func TestTheEndOfAClientAndFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := connectHalves(t, transports[0], transports[1], transports[3])
		begun := time.Now()
		first := h.server(t)
		closesWrite(t, h.client)
		ends(t, first, begun, 0)
		second := h.server(t) // the first one has sent nothing for 10 seconds
		ends(t, second, begun, 10*time.Second)
		sends(t, second)
		receives(t, h.client)
		second.Close()
		<-h.ended
	})
	synctest.Test(t, func(t *testing.T) {
		h := connectHalves(t, transports[0], transports[1], transports[3])
		begun := time.Now()
		conn := h.server(t)
		closesWrite(t, h.client)
		ends(t, conn, begun, 0)
		conn.Close()
		ends(t, h.client, begun, 0)
		<-h.ended
		if len(h.servers) > 0 || h.stats().Failed != 1 || !strings.Contains(h.log.String(), "the client has ended its stream") {
			t.Errorf("%d more servers, %+v: %v", len(h.servers), h.stats(), &h.log)
		}
	})
}
