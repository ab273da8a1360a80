package handshake_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// insideFakeTLS sends a hello that is answered and then what send writes, and
// returns what the server sends after its answer, when it does, and the
// handshake's error.
func insideFakeTLS(t *testing.T, auth *testAuth, send func(net.Conn)) (after []byte, took time.Duration, err error) {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	secret := auth.secrets[0]
	ended := make(chan error, 1)
	go func() {
		_, err := run(context.Background(), handshake.New(near), withSecrets, auth)
		near.Close()
		ended <- err
	}()
	hello := clientHello(t, secret)
	go far.Write(hello)
	var answer []byte
	for b := make([]byte, 4096); ; {
		n, err := far.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		answer = append(answer, b[:n]...)
		if n, err := faketls.VerifyServerHello(answer, secret.Key, [32]byte(hello[11:])); err == nil {
			if n != len(answer) {
				t.Errorf("%d bytes more than the answer", len(answer)-n)
			}
			break
		}
	}
	begin := time.Now()
	go send(far)
	after, _ = io.ReadAll(far)
	return after, time.Since(begin), <-ended
}

// Behind an answered hello, bytes that a TLS server could not decrypt are met by an
// encrypted alert when their record is complete, and not before. A client that
// sends nothing, or a part of a record, is met by the end of the connection when
// the server's patience is over.
func TestEndInsideFakeTLSIsATLSServers(t *testing.T) {
	const patience = time.Minute
	record := func(length, sent int) []byte {
		return append(faketls.AppendRecordHeader(nil, length), bytes.Repeat([]byte("x"), sent)...)
	}
	changeCipherSpec := []byte("\x14\x03\x03\x00\x01\x01")
	for name, c := range map[string]struct {
		send    []byte
		alert   bool
		waits   bool
		timeout bool
	}{
		"nothing":                     {nil, false, true, true},
		"a ChangeCipherSpec":          {changeCipherSpec, false, true, true},
		"a record too short":          {record(53, 53), true, false, false},
		"the same behind another":     {append(bytes.Clone(changeCipherSpec), record(53, 53)...), true, false, false},
		"a record of garbage":         {record(200, 200), true, false, false},
		"a part of a record":          {record(200, 100), false, true, true},
		"the init payload's length":   {record(200, 64), false, true, true},
		"a record of another version": {[]byte("\x17\x03\x01\x00\x10"), true, false, false},
		"an empty record":             {record(0, 0), true, false, false},
		"32 ChangeCipherSpecs":        {bytes.Repeat(changeCipherSpec, 32), false, true, true},
		"33 ChangeCipherSpecs":        {bytes.Repeat(changeCipherSpec, 33), true, false, false},
		"another ChangeCipherSpec":    {[]byte("\x14\x03\x03\x00\x01\x02"), true, false, false},
		"an alert":                    {[]byte("\x15\x03\x03\x00\x02\x02\x28"), false, false, false},
		"no record":                   {[]byte("GET / HTTP/1.1\r\n\r\n"), true, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			auth := &testAuth{secrets: []mtproxy.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, patience: patience}
			after, took, err := insideFakeTLS(t, auth, func(conn net.Conn) { conn.Write(c.send) })
			if alert := len(after) == 24 && bytes.HasPrefix(after, []byte("\x17\x03\x03\x00\x13")); alert != c.alert || !alert && len(after) > 0 {
				t.Errorf("%s: %x", name, after)
			}
			if waited := took == patience; waited != c.waits || !waited && took != 0 {
				t.Errorf("%s: after %v", name, took)
			}
			if errors.Is(err, handshake.ErrTimeout) != c.timeout {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Without patience the end is not imitated: a client may be silent for any time
// inside FakeTLS, as official clients are that connect ahead of need.
func TestEndInsideFakeTLSIsNotImitatedWithoutPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := &testAuth{secrets: []mtproxy.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}}
		after, took, _ := insideFakeTLS(t, auth, func(conn net.Conn) {
			time.Sleep(time.Hour)
			conn.Write(append(faketls.AppendRecordHeader(nil, 200), make([]byte, 200)...))
		})
		if len(after) != 0 || took != time.Hour {
			t.Errorf("%x after %v", after, took)
		}
	})
}

// Undecided is called with what has come each time that more must come, and not
// once something was answered.
func TestUndecidedSeesTheClientsBytesAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := secretOf(t, mtwiretest.FakeTLSSecret)
		var seen []int
		auth := &testAuth{secrets: []mtproxy.Secret{secret}}
		auth.undecided = func(first []byte) { seen = append(seen, len(first)) }
		near, far := net.Pipe()
		defer far.Close()
		ended := make(chan struct{})
		h := handshake.New(near)
		go func() {
			defer close(ended)
			run(context.Background(), h, withSecrets, auth)
			near.Close()
		}()
		hello := clientHello(t, secret)
		for _, cut := range []int{0, 1, 5, 300} {
			far.Write(hello[cut:map[int]int{0: 1, 1: 5, 5: 300, 300: len(hello)}[cut]])
			synctest.Wait()
		}
		go io.Copy(io.Discard, far)
		synctest.Wait()
		far.Write([]byte("\x17\x03\x03\x01\x00"))
		synctest.Wait()
		far.Close()
		<-ended
		// The rest of the hello is read in pieces, since a pipe is no socket.
		if len(seen) < 3 || seen[0] != 1 || seen[1] != 5 || seen[2] != 300 || slices.Max(seen) >= len(hello) {
			t.Errorf("called with %d bytes", seen)
		}
	})
}

// A handshake whose context ended can be abandoned: every byte is returned, and
// the connection has no deadline.
func TestAbandonedConnectionIsIntact(t *testing.T) {
	server, socket := net.Pipe()
	defer socket.Close()
	ctx, cancel := context.WithCancel(short(t))
	defer cancel()
	go func() {
		socket.Write([]byte("\x16\x03\x01\x02"))
		cancel() // they are read
	}()
	h := handshake.New(server)
	if _, err := run(ctx, h, withSecrets, &testAuth{}); !errors.Is(err, context.Canceled) || !h.Resumable() {
		t.Fatal(err)
	}
	if first := h.Abandon(); string(first) != "\x16\x03\x01\x02" {
		t.Errorf("%x", first)
	}
	go socket.Write([]byte("more"))
	if n, err := server.Read(make([]byte, 10)); n != 4 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
