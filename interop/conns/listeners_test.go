package conns

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/xtaci/smux"
	"golang.org/x/crypto/ssh"
)

// dialFunc opens a connection, as DialConfig.DialContext does.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// kinds are the connections to test: a listener of each, and how to dial it.
var kinds = map[string]func(t *testing.T) (net.Listener, dialFunc){
	"SSH":      listenSSH,
	"yamux":    listenYamux,
	"smux":     listenSmux,
	"net.Pipe": listenPipe,
}

// listener is a net.Listener of connections that a function accepts, which blocks.
type listener struct {
	accept func() (net.Conn, error)
	close  func() error
}

func (l *listener) Accept() (net.Conn, error) { return l.accept() }
func (l *listener) Close() error              { return l.close() }
func (l *listener) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// sockets returns the two ends of a TCP connection, which the end of the test closes.
func sockets(t *testing.T) (client, server net.Conn) {
	a, b, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func listenPipe(*testing.T) (net.Listener, dialFunc) {
	conns, closed := make(chan net.Conn), make(chan struct{})
	accept := func() (net.Conn, error) {
		select {
		case conn := <-conns:
			return conn, nil
		case <-closed:
			return nil, net.ErrClosed
		}
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case conns <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &listener{accept, onceClosed(closed)}, dial
}

// onceClosed returns a Close that closes c and may be called again.
func onceClosed(c chan struct{}) func() error {
	return func() error {
		select {
		case <-c:
		default:
			close(c)
		}
		return nil
	}
}

func listenYamux(t *testing.T) (net.Listener, dialFunc) {
	a, b := sockets(t)
	config := yamux.DefaultConfig()
	config.LogOutput = t.Output()
	server, err := yamux.Server(b, config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := yamux.Client(a, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, func(context.Context, string, string) (net.Conn, error) { return client.Open() }
}

func listenSmux(t *testing.T) (net.Listener, dialFunc) {
	a, b := sockets(t)
	config := smux.DefaultConfig()
	config.Version = 2 // with a window for each stream
	server, err := smux.Server(b, config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := smux.Client(a, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	accept := func() (net.Conn, error) { return server.AcceptStream() }
	return &listener{accept, server.Close}, func(context.Context, string, string) (net.Conn, error) { return client.OpenStream() }
}

// listenSSH returns channels of an SSH connection: on the client the package's own
// net.Conn, whose SetDeadline fails, on the server the like of it.
func listenSSH(t *testing.T) (net.Listener, dialFunc) {
	a, b := sockets(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	serverConfig := &ssh.ServerConfig{NoClientAuth: true}
	serverConfig.AddHostKey(signer)
	channels := make(chan (<-chan ssh.NewChannel), 1)
	go func() {
		_, incoming, requests, err := ssh.NewServerConn(b, serverConfig)
		if err != nil {
			t.Error(err)
			return
		}
		go ssh.DiscardRequests(requests)
		channels <- incoming
	}()
	conn, incoming, requests, err := ssh.NewClientConn(a, "", &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(signer.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(conn, incoming, requests)
	offered := <-channels
	closed := make(chan struct{})
	accept := func() (net.Conn, error) {
		select {
		case offer, ok := <-offered:
			if !ok {
				return nil, net.ErrClosed
			}
			channel, requests, err := offer.Accept()
			go ssh.DiscardRequests(requests)
			return &channelConn{channel}, err
		case <-closed:
			return nil, net.ErrClosed
		}
	}
	return &listener{accept, onceClosed(closed)}, func(context.Context, string, string) (net.Conn, error) {
		return client.Dial("tcp", "127.0.0.1:1")
	}
}

// channelConn is a channel as a net.Conn, as servers make it.
type channelConn struct{ ssh.Channel }

var errNoDeadline = errors.New("deadline not supported")

func (*channelConn) SetDeadline(time.Time) error      { return errNoDeadline }
func (*channelConn) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (*channelConn) SetWriteDeadline(time.Time) error { return errNoDeadline }
func (*channelConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (*channelConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }
