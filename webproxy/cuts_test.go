//go:build !js

package webproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutConn is a connection that ends after a number of bytes, in either direction.
type cutConn struct {
	net.Conn
	left *atomic.Int64
	cuts *atomic.Int64
}

func (c *cutConn) spend(n int) (int, error) {
	if c.left.Add(-int64(n)) < 0 {
		c.cuts.Add(1)
		c.Conn.Close()
		return 0, errors.New("cut")
	}
	return n, nil
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n, cut := c.spend(n); cut != nil {
		return n, cut
	}
	return n, err
}

// Write sends a part of p, so that a request is cut anywhere.
func (c *cutConn) Write(p []byte) (int, error) {
	if left := c.left.Load(); int64(len(p)) > left && left > 0 {
		c.Conn.Write(p[:left])
	}
	if _, err := c.spend(len(p)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// cutting returns a config whose connections are cut at random. Each third lasts for longer, so
// that no request is cut as often in a row as a client repeats it.
func (r *relay) cutting(seed uint64, least, spread int64) (*DialConfig, *atomic.Int64) {
	config, cuts := r.config(), new(atomic.Int64)
	var mu sync.Mutex
	random, n := rand.New(rand.NewPCG(seed, 9)), 0
	dial := config.DialContext
	config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		left := new(atomic.Int64)
		left.Store(least + random.Int64N(spread))
		if n++; n%3 == 0 {
			left.Add(2 * spread)
		}
		return &cutConn{conn, left, cuts}, nil
	}
	return config, cuts
}

// With the carriers https and https-lanes no byte is lost, doubled or reordered,
// wherever a request or an answer is cut.
func TestNoByteIsLostWhenRequestsAreCut(t *testing.T) {
	for _, carrier := range []Carrier{HTTPS, HTTPSLanes} {
		for version, http2 := range map[string]bool{"1.1": false, "2": true} {
			t.Run(carrier.String()+"/"+version, func(t *testing.T) {
				t.Parallel()
				relay := newRelay(t, carrier, http2, nil)
				go relay.echo()
				config, cuts := relay.cutting(7, 20_000, 5_000_000)
				var client *Client
				for client == nil { // Dial itself gives up after some cuts
					client, _ = Dial(t.Context(), relay.link, config)
				}
				defer client.Close()
				var streams sync.WaitGroup
				for i := range 2 {
					streams.Go(func() {
						conn, err := client.Open(t.Context())
						if err != nil {
							t.Error(err)
							return
						}
						defer conn.Close()
						conn.SetDeadline(time.Now().Add(hangTime))
						if err := exchange(conn, 5_000_000, uint64(i)); err != nil {
							t.Errorf("after %d cuts: %v, %v", cuts.Load(), err, client.Err())
						}
					})
				}
				streams.Wait()
				if cuts.Load() == 0 {
					t.Error("nothing was cut")
				}
			})
		}
	}
}

// With the carriers websocket and websocket-lanes a stream that is cut has the first
// bytes that were sent, in order, and an error that is no EOF.
func TestACutSocketLosesOnlyTheEnd(t *testing.T) {
	for _, carrier := range []Carrier{WebSocket, WebSocketLanes} {
		for seed := range uint64(4) {
			relay := newRelay(t, carrier, false, nil)
			config, _ := relay.cutting(seed, 40_000, 900_000)
			client, err := Dial(t.Context(), relay.link, config)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := client.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			accepted, err := relay.Accept()
			if err != nil {
				t.Fatal(err)
			}
			text := make([]byte, 3_000_000)
			for i := range text {
				text[i] = byte(i * i >> 7)
			}
			go conn.Write(text)
			got, err := io.ReadAll(accepted)
			if err == nil || !bytes.HasPrefix(text, got) || len(got) == len(text) {
				t.Errorf("%d of %d bytes, %v", len(got), len(text), err)
			}
			if _, err := io.ReadAll(conn); err == nil {
				t.Error("the client's end has no error")
			}
			conn.Close()
			accepted.Close()
			client.Close()
			// Close may not have reached the relay. The session's memory is free all the same.
			eventually(t, "the memory to be free", func() bool { return relay.Stats().Up == 0 && relay.Stats().Down == 0 })
		}
	}
}

// Requests that arrive again, late, or out of order after their answers do not change
// what a stream has.
func TestReplayedRequestsChangeNothing(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	token := h.session()
	h.up(token, 1, batch(open(1)))
	conn, _ := h.Accept()
	r := rand.New(rand.NewPCG(1, 1))
	var want []byte
	sequence, cursor := 1, 0
	var last []byte
	for range 300 {
		switch r.IntN(4) {
		case 0:
			sequence++
			last = batch(data(1, string(rune('a'+r.IntN(26)))))
			h.want(h.up(token, sequence, last), 204, "upload")
			want = append(want, last[HeaderLength])
		case 1:
			if last != nil {
				h.want(h.up(token, sequence, last), 204, "replayed upload")
			}
		case 2:
			conn.Write([]byte("down"))
			a, b := body(t, h.down(token, cursor)), body(t, h.down(token, cursor))
			if !bytes.Equal(a, b) || !bytes.Equal(a, batch(data(1, "down"))) {
				t.Fatalf("%x, then %x", a, b)
			}
			cursor++
		}
	}
	h.up(token, sequence+1, batch(closing(1)))
	if got, err := io.ReadAll(conn); string(got) != string(want) || err != nil {
		t.Errorf("%q, want %q, %v", got, want, err)
	}
}
