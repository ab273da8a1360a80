package faketls

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// accept is a server's handshake over conn with keys. It returns the connection
// past it, the hello, and the index of its key and the client's clock.
func accept(t *testing.T, conn net.Conn, shape ServerHelloShape, keys ...[16]byte) (*Conn, ClientHello, int, time.Time) {
	t.Helper()
	var b []byte
	for {
		hello, n, err := ParseClientHello(b)
		if err == ErrIncomplete {
			b = append(b, readN(t, conn, n-len(b))...)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		key, clock := hello.MatchAny(keys)
		if key < 0 {
			t.Fatal("no key matches")
		}
		flight, err := AppendServerHello(nil, &hello, keys[key], shape, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(flight); err != nil {
			t.Fatal(err)
		}
		return NewConn(conn, frame.Server), hello, key, clock
	}
}

func TestClientAndServerExchangeHellosAndThenBytes(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com", Time: vectorClock})
	done := make(chan error, 1)
	go func() { done <- client.Handshake(t.Context()) }()
	server, hello, key, clock := accept(t, b, ServerHelloShape{DataSize: 3000}, otherKey, vectorKey)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if key != 1 || hello.SNI != "example.com" || !clock.Equal(vectorTime) {
		t.Errorf("key %d, SNI %q, clock %v; want 1, example.com, %v", key, hello.SNI, clock, vectorTime)
	}
	if err := server.Handshake(t.Context()); err != nil {
		t.Errorf("Handshake of a connection past it: %v", err)
	}
	go client.Write([]byte("hello"))
	if got := readN(t, server, 5); string(got) != "hello" {
		t.Errorf("server read %q", got)
	}
	go server.Write([]byte("hi"))
	if got := readN(t, client, 2); string(got) != "hi" {
		t.Errorf("client read %q", got)
	}
}

// The first Read or Write performs the handshake, and the deadlines that the
// caller set stay.
func TestFirstReadOrWriteShakesHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []string{"Write", "Read"} {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
			done := make(chan error, 1)
			go func() {
				if first == "Read" {
					client.SetReadDeadline(time.Now().Add(time.Second))
					if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Read: %v, want a timeout", err)
					}
				}
				_, err := client.Write([]byte("hello"))
				done <- err
			}()
			server, _, _, _ := accept(t, b, ServerHelloShape{}, vectorKey)
			if got := readN(t, server, 5); string(got) != "hello" {
				t.Errorf("server read %q", got)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// The flight may arrive together with the first records, in any pieces.
func TestClientReadsNothingBeyondTheFlight(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	flight := join(vectorFlight(t), appendRecords(nil, []byte("early"), 3))
	for size := 1; size <= len(flight); size++ {
		r := &chunks{stream: bytes.Clone(flight), sizes: bytes.Repeat([]byte{byte(size - 1)}, len(flight))}
		if err := readServerHello(r, vectorKey, hello.Random); err != nil {
			t.Fatalf("pieces of %d bytes: %v", size, err)
		}
		if want := flight[202:]; !bytes.Equal(r.stream, want) {
			t.Fatalf("pieces of %d bytes: %d bytes left, want %d", size, len(r.stream), len(want))
		}
	}
}

// A client that gives up leaves the connection below open and without
// deadlines.
func TestHandshakeThatTimesOutLeavesTheConnectionUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
		go func() {
			b.Read(make([]byte, 1<<14))
			b.Write(vectorFlight(t)[:100])
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := client.Handshake(ctx); err != context.DeadlineExceeded {
			t.Fatalf("%v, want context.DeadlineExceeded", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %v, want 10s", took)
		}
		if err := client.Handshake(t.Context()); !errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second Handshake: %v", err)
		}
		go b.Write([]byte("more"))
		if got := readN(t, client.NetConn(), 4); string(got) != "more" {
			t.Errorf("read %q below", got)
		}
	})
}

func TestHandshakeWithAnEndedContextChangesNothing(t *testing.T) {
	a, b := tcpPair(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
	if err := client.Handshake(ended); err != context.Canceled {
		t.Errorf("%v, want context.Canceled", err)
	}
	done := make(chan error, 1)
	go func() { done <- client.Handshake(t.Context()) }()
	accept(t, b, ServerHelloShape{}, vectorKey)
	if err := <-done; err != nil {
		t.Errorf("with another context: %v", err)
	}
}

// The error distinguishes the causes, and later calls return the same.
func TestClientReportsWhyThereIsNoProxy(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		want   error
	}{
		"hang-up":         {nil, io.ErrUnexpectedEOF},
		"half a flight":   {vectorFlight(t)[:150], io.ErrUnexpectedEOF},
		"alert":           {unhex(t, "15030300020270"), ErrMalformed},
		"another key":     {vectorFlight(t), ErrNoMatch},
		"no TLS":          {[]byte("HTTP/1.1 400 Bad Request\r\n"), ErrMalformed},
		"tickets outside": {join(record(RecordHandshake, 90), []byte(changeCipherSpec), record(RecordApplicationData, 9)), ErrNoMatch},
	} {
		a, b := tcpPair(t)
		client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
		go func() {
			readN(t, b, 512)
			b.Write(c.answer)
			b.CloseWrite()
		}()
		err := client.Handshake(t.Context())
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if again := client.Handshake(t.Context()); again != err {
			t.Errorf("%s: second Handshake: %v, want %v", name, again, err)
		}
		if _, again := client.Read(make([]byte, 1)); again != err {
			t.Errorf("%s: Read: %v, want %v", name, again, err)
		}
		if _, again := client.Write([]byte("x")); again != err {
			t.Errorf("%s: Write: %v, want %v", name, again, err)
		}
	}
}
