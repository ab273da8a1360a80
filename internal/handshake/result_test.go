package handshake_test

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
	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// The result has the very socket and every byte of the stream, however much came
// together with the init payload.
func TestResultHasEveryByte(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	for _, early := range []int{0, 1, 15, 16, 100} {
		accepted, socket := tcpPair(t)
		u := newUpload(t, secret.Key, encrypted(7))
		first := obfuscation.InitLength + early
		socket.Write(u.wire[:first])
		r, err := run(short(t), handshake.New(accepted, withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}}))
		if err != nil {
			t.Fatal(err)
		}
		if r.Conn != net.Conn(accepted) || r.Records != nil || len(r.Buffered) != early {
			t.Errorf("%d bytes early: %T, records %v, %d bytes are buffered", early, r.Conn, r.Records, len(r.Buffered))
		}
		answer := encrypted(3)
		sent := bytes.Clone(answer)
		r.Download.StreamAt(0).XORKeyStream(sent, sent)
		if _, err := r.Conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(socket, sent); err != nil {
			t.Fatal(err)
		}
		if u.Receive.XORKeyStream(sent, sent); !bytes.Equal(sent, answer) {
			t.Errorf("%d bytes early: the client cannot read the answer", early)
		}
		socket.Write(u.wire[first:])
		socket.CloseWrite()
		if got := rest(t, r); !bytes.Equal(got, u.clear) {
			t.Errorf("%d bytes early: %d bytes of %d came, or others", early, len(got), len(u.clear))
		}
	}
}

// Bytes pipelined behind a FakeTLS hello, such as mtcute's ChangeCipherSpec, stay
// in the stream wherever it is cut between what came with the hello and what
// came later.
func TestBytesBehindAHelloStayInTheStream(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	hello := clientHello(t, secret)
	u := newUpload(t, secret.Key, encrypted(2))
	stream := []byte("\x14\x03\x03\x00\x01\x01")
	for rest, n := u.wire, obfuscation.InitLength+10; len(rest) > 0; n = 20 {
		n = min(n, len(rest))
		stream = append(append(stream, faketls.AppendRecordHeader(nil, n)...), rest[:n]...)
		rest = rest[n:]
	}
	for cut := range len(stream) + 1 {
		accepted, socket := tcpPair(t)
		auth := &testAuth{secrets: []mtproxy.Secret{secret}, shape: faketls.ServerHelloShape{DataSize: 1}}
		socket.Write(append(bytes.Clone(hello), stream[:cut]...))
		results := make(chan *handshake.Result, 1)
		go func() {
			r, err := run(short(t), handshake.New(accepted, withSecrets, auth))
			if err != nil {
				t.Errorf("cut at %d: %v", cut, err)
			}
			results <- r
		}()
		socket.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(socket, make([]byte, 5)); err != nil { // the answer has begun
			t.Fatal(err)
		}
		socket.Write(stream[cut:])
		socket.CloseWrite()
		r := <-results
		if r == nil {
			return
		}
		if r.Conn != net.Conn(accepted) || r.Records == nil {
			t.Fatalf("cut at %d: %T, records %v", cut, r.Conn, r.Records)
		}
		if got := rest(t, r); !bytes.Equal(got, u.clear) {
			t.Fatalf("cut at %d: %d bytes of %d came, or others", cut, len(got), len(u.clear))
		}
		if !r.Records.Complete() {
			t.Errorf("cut at %d: the last record is incomplete", cut)
		}
	}
}

// Bytes behind the init payload that are no record end the stream, whether they
// come with it or later.
func TestBadRecordsBehindAHelloAreAnError(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	u := newUpload(t, secret.Key, nil)
	stream := append(faketls.AppendRecordHeader(nil, len(u.wire)), u.wire...)
	stream = append(stream, "this is no record"...)
	server, socket := tcpPair(t)
	socket.Write(append(clientHello(t, secret), stream...))
	socket.CloseWrite()
	r, err := run(short(t), handshake.New(server, withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}}))
	if err == nil {
		var b []byte
		if b, err = io.ReadAll(r.Conn); err == nil {
			_, err = r.Records.Deframe(b)
		}
	}
	var bad *faketls.RecordError
	if !errors.As(err, &bad) {
		t.Errorf("%v, want a *RecordError", err)
	}
}

// A handshake whose context ends before the first byte can be resumed, also
// before the first byte inside FakeTLS.
func TestHandshakeIsResumed(t *testing.T) {
	for _, text := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		secret := secretOf(t, text)
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			h := handshake.New(near, withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}})
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
				if _, err := run(ctx, h); !errors.Is(err, context.DeadlineExceeded) || !h.Resumable() {
					t.Errorf("before the first byte: %v, resumable %v", err, h.Resumable())
				}
				cancel()
			}
			r, err := run(context.Background(), h)
			if err != nil {
				t.Fatal(err)
			}
			if got := rest(t, r); len(got) < 4+24+3*16 {
				t.Errorf("%d bytes", len(got))
			}
			<-sent
		})
	}
}

// Over WebSocket the result's connection is the WebSocket, and the stream is the
// same.
func TestResultMayComeFromAWebSocket(t *testing.T) {
	server, socket := tcpPair(t)
	results := make(chan *handshake.Result, 1)
	go func() {
		r, err := run(short(t), handshake.New(server, &handshake.Config{}, &testAuth{}))
		if err != nil {
			t.Error(err)
		}
		results <- r
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
	r := <-results
	if _, ok := r.Conn.(*wsconn.Conn); !ok || r.Records != nil || r.Carrier != detect.CarrierWebSocket {
		t.Fatalf("%T, records %v, %v", r.Conn, r.Records, r.Transport)
	}
	got := append(r.Buffered, make([]byte, 4+len(sent)-len(r.Buffered))...)
	if _, err := io.ReadFull(r.Conn, got[len(r.Buffered):]); err != nil {
		t.Fatal(err)
	}
	if r.Upload.StreamAt(obfuscation.InitLength).XORKeyStream(got, got); !bytes.Equal(got[4:], sent) {
		t.Errorf("%x", got)
	}
}

// A framing in clear has no key streams; its header is consumed, and the rest is
// buffered.
func TestResultOfAPlainFraming(t *testing.T) {
	server, socket := tcpPair(t)
	fmt.Fprint(socket, "\xee\xee\xee\xee\x08\x00\x00\x0012345678")
	r, err := run(short(t), handshake.New(server, &handshake.Config{}, &testAuth{}))
	if err != nil {
		t.Fatal(err)
	}
	if r.Protocol != frame.Intermediate || r.Obfuscated || r.Secret != -1 || string(r.Buffered) != "\x08\x00\x00\x0012345678" {
		t.Errorf("%v, %q", r.Transport, r.Buffered)
	}
}
