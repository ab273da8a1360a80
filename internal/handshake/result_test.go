package handshake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
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

// The result has the socket itself and every byte of the stream, however many came together
// with the init payload.
func TestResultHasEveryByte(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	for _, early := range []int{0, 1, 15, 16, 100} {
		accepted, socket := tcpPair(t)
		u := newUpload(t, secret.Key, encrypted(7))
		first := obfuscation.InitLength + early
		socket.Write(u.wire[:first])
		r, err := run(short(t), handshake.New(accepted), withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}})
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

// Bytes pipelined behind a FakeTLS hello, such as mtcute's ChangeCipherSpec, stay in the
// stream, wherever it is cut into a part that comes with the hello and one that comes later.
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
			r, err := run(short(t), handshake.New(accepted), withSecrets, auth)
			if err != nil {
				t.Errorf("cut at %d: %v", cut, err)
			}
			results <- r
		}()
		socket.SetReadDeadline(time.Now().Add(30 * time.Second))
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

// A bad record behind a part of the init payload ends the handshake at once, and
// not when its time is over.
func TestBadRecordBehindAPartOfTheInitPayloadIsReportedAtOnce(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	u := newUpload(t, secret.Key, nil)
	server, socket := tcpPair(t)
	stream := append(faketls.AppendRecordHeader(clientHello(t, secret), 10), u.wire[:10]...)
	socket.Write(append(stream, "\x15\x03\x03\x00\x02\x01\x00"...)) // an alert
	config := &handshake.Config{Secrets: true, Timeout: time.Hour}
	_, err := run(short(t), handshake.New(server), config, &testAuth{secrets: []mtproxy.Secret{secret}})
	var bad *faketls.RecordError
	if !errors.As(err, &bad) {
		t.Errorf("%v, want a *RecordError", err)
	}
}

// Of a client that sends megabytes behind its handshake, the server reads at most one
// buffer.
func TestBufferedBytesAreBounded(t *testing.T) {
	const limit = 128 << 10
	plain, ee := secretOf(t, mtwiretest.PaddedSecret), secretOf(t, mtwiretest.FakeTLSSecret)
	for _, secret := range []mtproxy.Secret{plain, ee} {
		accepted, socket := tcpPair(t)
		u := newUpload(t, secret.Key, make([]byte, 4<<20))
		stream := u.wire
		if secret.Mode == mtproxy.FakeTLS {
			stream = clientHello(t, secret)
			for piece := range slices.Chunk(u.wire, 16<<10) {
				stream = append(faketls.AppendRecordHeader(stream, len(piece)), piece...)
			}
		}
		go socket.Write(stream)
		r, err := run(short(t), handshake.New(accepted), withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}})
		if err != nil || cap(r.Buffered) > limit {
			t.Errorf("%d bytes are buffered, %v", cap(r.Buffered), err)
		}
	}
}

// A handshake that is over has no buffer from the pool, whatever its result.
func TestFinishedHandshakeHasNoBuffer(t *testing.T) {
	plain, ee := secretOf(t, mtwiretest.PaddedSecret), secretOf(t, mtwiretest.FakeTLSSecret)
	both := &testAuth{secrets: []mtproxy.Secret{plain, ee}}
	inRecords := func(b []byte) []byte { return append(faketls.AppendRecordHeader(clientHello(t, ee), len(b)), b...) }
	config := &handshake.Config{Secrets: true, AllowNoSecret: true}
	for name, c := range map[string]struct {
		auth     handshake.Auth
		sent     []byte
		accepted bool
	}{
		"init payload":         {both, newUpload(t, plain.Key, encrypted(9)).wire, true},
		"FakeTLS":              {both, inRecords(newUpload(t, ee.Key, encrypted(9)).wire), true},
		"Intermediate":         {both, []byte("\xee\xee\xee\xee\x08\x00\x00\x0012345678"), true},
		"HTTP":                 {both, []byte("POST /api HTTP/1.1\r\n"), true},
		"no secret matches":    {&testAuth{}, append([]byte("GETX"), make([]byte, 60)...), false},
		"other key inside":     {both, inRecords(newUpload(t, [16]byte{9}, nil).wire), false},
		"bad record":           {both, inRecords(make([]byte, 10))[:520], false},
		"the client is gone":   {both, []byte("\x16\x03"), false},
		"no record in FakeTLS": {both, append(clientHello(t, ee), make([]byte, 100)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			server, socket := tcpPair(t)
			socket.Write(c.sent)
			socket.CloseWrite()
			h := handshake.New(server)
			if _, err := run(short(t), h, config, c.auth); (err == nil) != c.accepted {
				t.Error(err)
			}
			if h.HasBuffer() {
				t.Error("it has a buffer")
			}
		})
	}
}

// Bytes behind the init payload that are not a record end the stream with an error, whether
// they come with it or later.
func TestBadRecordsBehindAHelloAreAnError(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	u := newUpload(t, secret.Key, nil)
	stream := append(faketls.AppendRecordHeader(nil, len(u.wire)), u.wire...)
	stream = append(stream, "this is no record"...)
	server, socket := tcpPair(t)
	socket.Write(append(clientHello(t, secret), stream...))
	socket.CloseWrite()
	r, err := run(short(t), handshake.New(server), withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}})
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

// Over WebSocket the result's connection is the WebSocket, which carries the same stream.
func TestResultMayComeFromAWebSocket(t *testing.T) {
	server, socket := tcpPair(t)
	results := make(chan *handshake.Result, 1)
	go func() {
		r, err := run(short(t), handshake.New(server), &handshake.Config{}, &testAuth{})
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

// The result of a framing in clear has no key streams. The header is consumed, and the bytes
// behind it are buffered.
func TestResultOfAPlainFraming(t *testing.T) {
	server, socket := tcpPair(t)
	fmt.Fprint(socket, "\xee\xee\xee\xee\x08\x00\x00\x0012345678")
	r, err := run(short(t), handshake.New(server), &handshake.Config{}, &testAuth{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Protocol != frame.Intermediate || r.Obfuscated || r.Secret != -1 || string(r.Buffered) != "\x08\x00\x00\x0012345678" {
		t.Errorf("%v, %q", r.Transport, r.Buffered)
	}
}
