package mtwire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A Receive that is called while another one runs is refused at once, and changes nothing
// for that one: over every transport, and while the handshake waits.
func TestConcurrentReceiveIsRefused(t *testing.T) {
	check := func(name string, conn *mtwire.Conn, end func(), length int) {
		t.Helper()
		type result struct {
			length int
			err    error
		}
		first := make(chan result, 1)
		go func() {
			for {
				p, err := conn.Receive(short(t))
				if !errors.Is(err, mtwire.ErrConcurrentReceive) { // the loop below may be first
					first <- result{len(p.Payload), err}
					return
				}
				runtime.Gosched()
			}
		}()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		var err error
		for !errors.Is(err, mtwire.ErrConcurrentReceive) { // until the first one has begun
			if _, err = conn.Receive(ended); !errors.Is(err, context.Canceled) && !errors.Is(err, mtwire.ErrConcurrentReceive) {
				t.Fatalf("%s: %v", name, err)
			}
			runtime.Gosched()
		}
		end()
		if r := <-first; r.err != nil || r.length != length {
			t.Errorf("%s: %d bytes, %v", name, r.length, r.err)
		}
	}
	address := startEcho(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true})
	for _, url := range []string{"tcp://%s", "tcp://%s?obfuscated=true", "ws://%s/apiws", "http://%s/api", "tcp://%s?secret=" + mtwiretest.FakeTLSSecret} {
		client, err := mtwire.Dial(short(t), fmt.Sprintf(url, address), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		check(url, client, func() {
			if err := client.Send(short(t), encrypted(3)); err != nil {
				t.Fatal(err)
			}
		}, 24+3*16)
	}
	server, socket := serve(t, nil)
	check("a server's handshake", server, func() { socket.Write(unhex("ef0101020304")) }, 4)
	server, socket = serve(t, nil)
	check("HTTP server", server, func() { fmt.Fprintf(socket, "POST /api HTTP/1.1\r\nContent-Length: 8\r\n\r\n12345678") }, 8)
}

// Goroutines that take turns at Receive share a connection without a data race, and each
// has its packet's bytes to itself until the next call.
func TestGoroutinesTakeTurnsAtReceive(t *testing.T) {
	client, err := mtwire.Dial(short(t), "tcp://"+startEcho(t, nil).String()+"?obfuscated=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const packets = 200
	go func() {
		for i := range packets {
			client.Send(short(t), bytes.Repeat([]byte{byte(i), byte(i), byte(i), byte(i)}, 6+4*(i%50)))
		}
	}()
	var mu sync.Mutex
	var received int
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for {
				mu.Lock()
				if received == packets {
					mu.Unlock()
					return
				}
				p, err := client.Receive(short(t))
				if b := p.Payload; err != nil || !bytes.Equal(b[1:], bytes.Repeat([]byte{byte(received)}, len(b)-1)) {
					t.Errorf("packet %d: % x, %v", received, b, err)
				}
				received++
				mu.Unlock()
			}
		})
	}
	running.Wait()
}
