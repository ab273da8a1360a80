package route

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func router(t *testing.T, config Config) *Router {
	t.Helper()
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// at places every data centre.
func at(addresses ...string) map[datacenter.DC][]string {
	return map[datacenter.DC][]string{0: addresses}
}

func upstreams(t *testing.T, texts ...string) (all []Upstream) {
	t.Helper()
	for _, text := range texts {
		u, err := ParseUpstream(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// dataCenter answers every packet with itself, and tells what connects. With
// secrets it is the front of an MTProxy.
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

// decrypter is what a client decrypts its download with.
func decrypter(k *obfuscation.KeyStream) cipher.Stream {
	block, err := aes.NewCipher(k[:32])
	if err != nil {
		panic(err)
	}
	return cipher.NewCTR(block, k[32:])
}

// echo sends two packets over a leg as a proxy does, and wants them back. It
// closes the leg.
func echo(t *testing.T, leg *Leg, protocol frame.Protocol, download *obfuscation.KeyStream) {
	t.Helper()
	defer leg.Conn.Close()
	conn := leg.Conn
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if leg.FakeTLS {
		conn = faketls.NewConn(conn, frame.Client)
	}
	var receive cipher.Stream = leg.Receive
	if leg.Receive == nil {
		receive = decrypter(download)
	}
	encoder := frame.Encoder{Protocol: protocol, From: frame.Client}
	decoder := frame.Decoder{Protocol: protocol, From: frame.Server}
	ahead := leg.Init
	var got []byte
	for _, blocks := range []int{3, 5000} {
		payload := make([]byte, 24+16*blocks)
		rand.Read(payload)
		up, err := encoder.Append(nil, frame.Packet{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		leg.Send.XORKeyStream(up, up)
		if _, err := conn.Write(slices.Concat(ahead, up)); err != nil {
			t.Fatal(err)
		}
		ahead = nil
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

// serve gives each connection on ln to handle, and ends with the test.
func serve(t *testing.T, ln net.Listener, handle func(net.Conn) error) {
	var mu sync.Mutex
	var conns []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

// forward is a proxy's work once it knows where to.
func forward(client net.Conn, address string, accepted, refused string) error {
	server, err := net.Dial("tcp", address)
	if err != nil {
		io.WriteString(client, refused)
		return err
	}
	defer server.Close()
	if _, err := io.WriteString(client, accepted); err != nil {
		return err
	}
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(client, server)
	return err
}

// proxyServer is a SOCKS5 or HTTP proxy on loopback. It knows one name,
// dc.test, and wants user and password if credentials are set.
type proxyServer struct {
	credentials string // user:password
	dcTest      string // where dc.test is
	asked       chan string
}

func (p *proxyServer) resolve(address string) string {
	p.asked <- address
	if address == "dc.test:443" {
		return p.dcTest
	}
	return address
}

// socks5 is RFC 1928 with RFC 1929.
func (p *proxyServer) socks5(conn net.Conn) error {
	b := make([]byte, 300)
	read := func(n int) []byte { io.ReadFull(conn, b[:n]); return b[:n] }
	methods := slices.Clone(read(int(read(2)[1])))
	method := byte(0)
	if p.credentials != "" {
		method = 2
	}
	if !slices.Contains(methods, method) {
		conn.Write([]byte{5, 0xff})
		return errors.New("no method")
	}
	conn.Write([]byte{5, method})
	if method == 2 {
		user := string(read(int(read(2)[1])))
		password := string(read(int(read(1)[0])))
		if user+":"+password != p.credentials {
			conn.Write([]byte{1, 1})
			return errors.New("refused")
		}
		conn.Write([]byte{1, 0})
	}
	var host string
	switch read(4)[3] {
	case 1:
		host = net.IP(read(4)).String()
	case 3:
		host = string(read(int(read(1)[0])))
	case 4:
		host = net.IP(read(16)).String()
	}
	port := read(2)
	address := net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1])))
	return forward(conn, p.resolve(address),
		"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01", "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
}

// http answers CONNECT.
func (p *proxyServer) http(conn net.Conn) error {
	r := bufio.NewReader(conn)
	request, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	if request.Method != "CONNECT" || request.UserAgent() != "" || request.Host != request.RequestURI {
		return fmt.Errorf("%s %s", request.Method, request.RequestURI)
	}
	request.Header.Set("Authorization", request.Header.Get("Proxy-Authorization"))
	user, password, _ := request.BasicAuth()
	if p.credentials != "" && user+":"+password != p.credentials {
		_, err = io.WriteString(conn, "HTTP/1.1 407 Who are you, "+user+"?\r\nContent-Length: 0\r\n\r\n")
		return err
	}
	return forward(conn, p.resolve(request.RequestURI),
		"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n", "HTTP/1.1 502 Sorry\r\nContent-Length: 4\r\n\r\nSorry")
}
