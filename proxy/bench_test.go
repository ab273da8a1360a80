package proxy

import (
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// neverSeen is a ReplayCache for a client that sends the same hello again and again.
type neverSeen struct{}

func (neverSeen) Seen([16]byte) bool { return false }

// BenchmarkConnection measures a connection from its acceptance to its end, with an echo,
// and what it costs the client and the data centre, which are bare sockets here and
// compute nothing. The connections of "direct" are from one to the other.
func BenchmarkConnection(b *testing.B) {
	for _, c := range []struct{ name, secret string }{{"direct", ""}, {"dd", mtwiretest.PaddedSecret}, {"ee", mtwiretest.FakeTLSSecret}} {
		b.Run(c.name, func(b *testing.B) {
			ln := listen(b, "tcp", "127.0.0.1:0")
			defer ln.Close()
			client := newBareClient(b, c.secret)
			go client.serve(ln)
			address := ln.Addr().String()
			if c.secret != "" {
				p, err := New(Config{
					Users: []User{{Name: "alice", Secrets: []mtproxy.Secret{client.secret}}}, Replay: neverSeen{}, ClockWindow: -1,
					DataCenters: at(address), Fronts: map[string]Front{"": {Address: "127.0.0.1:1"}},
					Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
				})
				if err != nil {
					b.Fatal(err)
				}
				proxied := listen(b, "tcp", "127.0.0.1:0")
				served := make(chan error, 1)
				go func() { served <- p.Serve(b.Context(), proxied) }()
				defer func() {
					p.Close()
					<-served
				}()
				address = proxied.Addr().String()
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := client.connect(address); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// bareClient is a client and its data centre, whose bytes are the same each time.
type bareClient struct {
	secret            mtproxy.Secret
	hello, up, answer []byte
	upstream          int // how many bytes the data centre receives
	flight, down      int // how many bytes the client receives
}

func newBareClient(b *testing.B, secret string) *bareClient {
	c := &bareClient{}
	if secret != "" {
		c.secret = secretOf(b, secret)
	}
	payload, init, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, DC: 2, Key: &c.secret.Key})
	if err != nil {
		b.Fatal(err)
	}
	streams := init.Streams(frame.Client)
	message := func(b []byte) []byte {
		return append(append(b, 0x28, 0, 0, 0), make([]byte, 0x28)...)
	}
	c.up = message(payload[:])
	streams.Send.XORKeyStream(c.up[len(payload):], c.up[len(payload):])
	c.answer = message(nil)
	streams.Receive.XORKeyStream(c.answer, c.answer)
	c.upstream, c.down = len(c.up), len(c.answer)
	if c.secret.Mode == mtproxy.FakeTLS {
		c.hello = helloOf(b, c.secret.Key, c.secret.Domain)
		c.flight = 2048
		c.up = append(faketls.AppendRecordHeader([]byte("\x14\x03\x03\x00\x01\x01"), len(c.up)), c.up...)
		c.down += faketls.RecordHeaderLength
	}
	return c
}

// serve is the data centre.
func (c *bareClient) serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 1024)
			if _, err := io.ReadFull(conn, buf[:c.upstream]); err == nil {
				conn.Write(c.answer)
				conn.Read(buf)
			}
		}()
	}
}

func (c *bareClient) connect(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var buf [8192]byte
	if len(c.hello) > 0 {
		conn.Write(c.hello)
		if err := c.readFlight(conn, buf[:]); err != nil {
			return err
		}
	}
	conn.Write(c.up)
	_, err = io.ReadFull(conn, buf[:c.down])
	return err
}

// readFlight reads the three records of a ServerHello.
func (c *bareClient) readFlight(conn net.Conn, buf []byte) error {
	hello, _, err := faketls.ParseClientHello(c.hello)
	if err != nil {
		return err
	}
	n := 0
	for {
		need, err := faketls.VerifyServerHello(buf[:n], c.secret.Key, hello.Random)
		if err != faketls.ErrIncomplete {
			return err
		}
		if _, err := io.ReadFull(conn, buf[n:need]); err != nil {
			return err
		}
		n = need
	}
}
