package route

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// router returns a router that does not take a slow machine for a silent peer: attempts have a
// minute, and none begins before that because another one takes long. In a bubble of synctest,
// where no time passes in between, it is as New makes it.
func router(t *testing.T, config Config) *Router {
	t.Helper()
	inBubble := time.Now().Year() == 2000 // the bubble's time begins there
	if config.DialTimeout == 0 && !inBubble {
		config.DialTimeout = time.Minute
	}
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if !inBubble {
		r.spare = time.Minute
	}
	return r
}

// at returns a Config.DataCenters in which every data centre has these addresses.
func at(addresses ...string) map[datacenter.DC][]string {
	return map[datacenter.DC][]string{0: addresses}
}

func upstreams(t *testing.T, texts ...string) (all []UpstreamURL) {
	t.Helper()
	for _, text := range texts {
		u, err := ParseUpstreamURL(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// dataCenter starts a loopback data centre that echoes every packet and sends the
// transport of each connection to transports. With secrets it accepts MTProxy
// clients, in place of an MTProxy in front of it.
func dataCenter(t *testing.T, secrets ...mtproxy.Secret) (address string, transports <-chan mtwire.Transport) {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan mtwire.Transport, 100)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.Handshake(ctx) != nil {
				return
			}
			seen <- conn.Transport()
			mtwiretest.Echo(ctx, conn)
		})
	}()
	t.Cleanup(func() { cancel(); <-served })
	return ln.Addr().String(), seen
}

// keyStream draws a client's download key stream.
func keyStream() *obfuscation.KeyStream {
	var k obfuscation.KeyStream
	rand.Read(k[:])
	return &k
}

// decrypter returns the cipher with which a client decrypts its download.
func decrypter(k *obfuscation.KeyStream) cipher.Stream {
	block, err := aes.NewCipher(k[:32])
	if err != nil {
		panic(err)
	}
	return cipher.NewCTR(block, k[32:])
}

// echo sends two packets over upstream, as a proxy does, and checks that they come
// back. It closes upstream.
func echo(t *testing.T, upstream *Upstream, protocol frame.Protocol, download *obfuscation.KeyStream) {
	t.Helper()
	defer upstream.Close()
	stream := upstream.Stream
	conn := stream.Conn
	conn.SetDeadline(time.Now().Add(time.Minute))
	if stream.FakeTLS {
		conn = faketls.NewConn(conn, frame.Client)
	}
	var receive cipher.Stream = stream.Receive
	if stream.Receive == nil {
		receive = decrypter(download)
	}
	encoder := frame.Encoder{Protocol: protocol, From: frame.Client}
	decoder := frame.Decoder{Protocol: protocol, From: frame.Server}
	init := stream.Init
	var got []byte
	for _, blocks := range []int{3, 5000} {
		payload := make([]byte, 24+16*blocks)
		rand.Read(payload)
		up, err := encoder.Append(nil, frame.Packet{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		stream.Send.XORKeyStream(up, up)
		if _, err := conn.Write(slices.Concat(init, up)); err != nil {
			t.Fatal(err)
		}
		init = nil
		for {
			p, n, err := decoder.Parse(got)
			if err == nil {
				if !bytes.Equal(p.Payload, payload) {
					t.Fatalf("%d bytes came back as %d others", len(payload), len(p.Payload))
				}
				got = got[n:]
				break
			}
			if !errors.Is(err, frame.ErrIncomplete) {
				t.Fatal(err)
			}
			b := make([]byte, 32<<10)
			n, err = conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			receive.XORKeyStream(b[:n], b[:n])
			got = append(got, b[:n]...)
		}
	}
}

// serve passes each connection on ln to handle until the test ends.
func serve(t *testing.T, ln net.Listener, handle func(net.Conn) error) {
	t.Helper()
	t.Cleanup(loopback.Serve(ln, func(conn net.Conn) { handle(conn) }))
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// deadAddress returns an address that refuses connections.
func deadAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
