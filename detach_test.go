package mtwire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// upload is what a client sends behind its init payload: as it is on the wire,
// and what a proxy is to make of it.
type upload struct {
	init  []byte // and what follows it, encrypted
	clear []byte
	obfuscation.Streams
}

func newUpload(t *testing.T, secret mtwire.Secret, clear []byte) *upload {
	t.Helper()
	init, announced, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: mtwire.PaddedIntermediate, DC: 4, Key: &secret.Key})
	if err != nil {
		t.Fatal(err)
	}
	streams := announced.Streams(frame.Client)
	wire := append(init[:], clear...)
	streams.Send.XORKeyStream(wire[len(init):], clear)
	return &upload{wire, clear, streams}
}

// rest reads what comes from a detached stream to its end, as a proxy does.
func rest(t *testing.T, s *mtwire.Stream) []byte {
	t.Helper()
	s.Socket.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if s.Records != nil {
		n, err := s.Records.Deframe(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:n]
	}
	s.Receive.XORKeyStream(b, b)
	return append(s.Read, b...)
}

// "Detach takes the obfuscated stream out": every byte of it, whatever came
// together with the init payload, and the very socket.
func TestDetachedStreamHasEveryByte(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	for _, early := range []int{0, 1, 15, 16, 100} {
		accepted, socket := tcpPair(t)
		server := mtwire.Server(accepted, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
		u := newUpload(t, secret, encrypted(7))
		first := obfuscation.InitLength + early
		socket.Write(u.init[:first])
		s, err := server.Detach(short(t))
		if err != nil {
			t.Fatal(err)
		}
		if s.Socket != net.Conn(accepted) || s.Records != nil || len(s.Read) != early {
			t.Errorf("%d bytes early: %T, records %v, %d bytes were read", early, s.Socket, s.Records, len(s.Read))
		}
		download := s.Download.Cursor(0)
		answer := encrypted(3)
		sent := bytes.Clone(answer)
		download.XORKeyStream(sent, sent)
		if _, err := s.Socket.Write(sent); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(socket, sent); err != nil {
			t.Fatal(err)
		}
		if u.Receive.XORKeyStream(sent, sent); !bytes.Equal(sent, answer) {
			t.Errorf("%d bytes early: the client cannot read the answer", early)
		}
		socket.Write(u.init[first:])
		socket.CloseWrite()
		if got := rest(t, &s); !bytes.Equal(got, u.clear) {
			t.Errorf("%d bytes early: %d bytes of %d came, or others", early, len(got), len(u.clear))
		}
		if err := server.Send(short(t), encrypted(3)); err == nil {
			t.Error("the Conn still sends")
		}
		if _, err := server.Receive(short(t)); err == nil || err == io.EOF {
			t.Errorf("the Conn still receives: %v", err)
		}
	}
}

func tcpPair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

// "Bytes pipelined behind a FakeTLS hello, such as mtcute's ChangeCipherSpec":
// the stream is whole wherever it is cut between what came with the hello and
// what came later.
func TestBytesBehindAHelloStayInTheStream(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
	if err != nil {
		t.Fatal(err)
	}
	u := newUpload(t, secret, encrypted(2))
	var stream []byte
	stream = append(stream, "\x14\x03\x03\x00\x01\x01"...)
	for i, n := range []int{obfuscation.InitLength + 10, 20, len(u.init) - obfuscation.InitLength - 30} {
		begin := []int{0, obfuscation.InitLength + 10, obfuscation.InitLength + 30}[i]
		stream = append(faketls.AppendRecordHeader(stream, n), u.init[begin:begin+n]...)
	}
	for cut := range len(stream) + 1 {
		accepted, socket := tcpPair(t)
		server := mtwire.Server(accepted, &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secret}, Flight: func(string) faketls.ServerHelloShape { return faketls.ServerHelloShape{DataSize: 1} },
		})
		socket.Write(append(bytes.Clone(hello), stream[:cut]...))
		detached := make(chan mtwire.Stream, 1)
		go func() {
			s, err := server.Detach(short(t))
			if err != nil {
				t.Errorf("cut at %d: %v", cut, err)
			}
			detached <- s
		}()
		socket.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(socket, make([]byte, 5)); err != nil { // the answer has begun
			t.Fatal(err)
		}
		socket.Write(stream[cut:])
		socket.CloseWrite()
		s := <-detached
		if s.Socket != net.Conn(accepted) || s.Records == nil {
			t.Fatalf("cut at %d: %T, records %v", cut, s.Socket, s.Records)
		}
		if got := rest(t, &s); !bytes.Equal(got, u.clear) {
			t.Fatalf("cut at %d: %d bytes of %d came, or others", cut, len(got), len(u.clear))
		}
		if !s.Records.Complete() {
			t.Errorf("cut at %d: the last record is not whole", cut)
		}
	}
}

// What is no record behind the init payload ends the stream, early or late.
func TestBadRecordsBehindAHelloAreAnError(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
	if err != nil {
		t.Fatal(err)
	}
	u := newUpload(t, secret, nil)
	stream := append(faketls.AppendRecordHeader(nil, len(u.init)), u.init...)
	stream = append(stream, "this is no record"...)
	server, socket := tcpPair(t)
	conn := mtwire.Server(server, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
	socket.Write(append(hello, stream...))
	socket.CloseWrite()
	s, err := conn.Detach(short(t))
	if err == nil {
		var b []byte
		if b, err = io.ReadAll(s.Socket); err == nil {
			_, err = s.Records.Deframe(b)
		}
	}
	var bad *faketls.RecordError
	if !errors.As(err, &bad) {
		t.Errorf("%v, want a *RecordError", err)
	}
}

// "If ctx ends before the client's first byte came, Detach can be called again",
// also for that of the stream inside FakeTLS.
func TestDetachCanBeCalledAgain(t *testing.T) {
	for _, text := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		secret := secretOf(t, text)
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			server := mtwire.Server(near, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				time.Sleep(15 * time.Minute)
				client, err := mtwire.Client(context.Background(), far, mtwire.Endpoint{Secret: secret}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(20 * time.Minute)
				if err := client.Send(context.Background(), encrypted(3)); err != nil {
					t.Error(err)
				}
				far.Close()
			}()
			for range 3 {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				if _, err := server.Detach(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("before the first byte: %v", err)
				}
				cancel()
			}
			s, err := server.Detach(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got := rest(t, &s); len(got) < 4+24+3*16 {
				t.Errorf("%d bytes", len(got))
			}
			<-sent
		})
	}
}

// "Socket carries the stream, unless TLS or WebSocket is in between": then they
// do, and the stream is the same.
func TestDetachedStreamMayComeFromAWebSocket(t *testing.T) {
	server, socket := serve(t, nil)
	detached := make(chan mtwire.Stream, 1)
	go func() {
		s, err := server.Detach(short(t))
		if err != nil {
			t.Error(err)
		}
		detached <- s
	}()
	client, err := mtwire.Dial(short(t), "ws://example.com/apiws?protocol=intermediate", &mtwire.DialConfig{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return socket, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := encrypted(3)
	if err := client.Send(short(t), sent); err != nil {
		t.Fatal(err)
	}
	s := <-detached
	if _, ok := s.Socket.(*wsconn.Conn); !ok || s.Records != nil {
		t.Fatalf("%T, records %v", s.Socket, s.Records)
	}
	got := make([]byte, 4+len(sent)-len(s.Read))
	if _, err := io.ReadFull(s.Socket, got); err != nil {
		t.Fatal(err)
	}
	s.Receive.XORKeyStream(got, got)
	if got = append(s.Read, got...); !bytes.Equal(got[4:], sent) {
		t.Errorf("%x", got)
	}
}

// "Only an obfuscated connection has a stream to give away": another one is as
// good as before.
func TestPlainConnectionsAreNotDetached(t *testing.T) {
	server, socket := serve(t, nil)
	fmt.Fprint(socket, "\xee\xee\xee\xee\x08\x00\x00\x0012345678")
	if _, err := server.Detach(short(t)); err == nil {
		t.Fatal("it was detached")
	}
	if p, err := server.Receive(short(t)); err != nil || string(p.Payload) != "12345678" {
		t.Errorf("%q, %v", p.Payload, err)
	}
}
