package relay_test

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
	"github.com/mtwire/mtwire/relay"
)

// pipes is a relay between a client and servers that are pipes, in a bubble of time.
type pipes struct {
	relay   *relay.Relay
	client  *mtwire.Conn
	servers chan net.Conn // those that are dialled, unless stuck
	ended   chan bool     // Handle has returned
}

// newRelay returns a relay to servers at 192.0.2.1, 192.0.2.2 and so on.
func newRelay(t *testing.T, endpoints int, dial mtwire.DialFunc) *relay.Relay {
	t.Helper()
	config := relay.Config{MaxUnauthenticated: 8, MaxMemory: 7 << 19, Dial: &mtwire.DialConfig{DialContext: dial}}
	for i := range endpoints {
		config.To = append(config.To, endpoint(t, "tcp://HOST:PORT", fmt.Sprintf("192.0.2.%d:443", i+1)))
	}
	r, err := relay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// connect has a client connected by the relay to servers of that many endpoints. With
// stuck, no dial returns before its context ends.
func connect(t *testing.T, endpoints int, stuck bool) *pipes {
	t.Helper()
	p := &pipes{servers: make(chan net.Conn, 9), ended: make(chan bool)}
	p.relay = newRelay(t, endpoints, func(ctx context.Context, _, _ string) (net.Conn, error) {
		if stuck {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ours, theirs := net.Pipe()
		p.servers <- theirs
		return ours, nil
	})
	ours, theirs := net.Pipe()
	go func() {
		p.relay.Handle(context.Background(), mtwire.Server(ours, nil))
		close(p.ended)
	}()
	var err error
	p.client, err = mtwire.Client(t.Context(), theirs, mtwire.Endpoint{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// endsWithin fails the test unless Handle returns in time, in the bubble.
func (p *pipes) endsWithin(t *testing.T, limit time.Duration) {
	t.Helper()
	select {
	case <-p.ended:
		if stats := p.relay.Stats(); stats.Open != 0 || stats.Unauthenticated != 0 {
			t.Errorf("%+v", stats)
		}
	case <-time.After(limit):
		t.Errorf("the relay goes on after %v", limit)
	}
}

// A client that leaves is noticed although its server reads nothing, or is still being
// dialled. The bubble fails if a goroutine is left.
func TestAClientThatLeavesIsNoticedWhileItsServerIsBlocked(t *testing.T) {
	for name, stuck := range map[string]bool{"the server reads nothing": false, "the server is being dialled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := connect(t, 1, stuck)
				for range 3 { // the relay goes on to receive while the first one is stuck
					if err := p.client.Send(t.Context(), message(echo, 10_000)); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				p.client.Close()
				p.endsWithin(t, 5*time.Second)
				if !stuck {
					server := <-p.servers
					if _, err := io.Copy(io.Discard, server); err != nil {
						t.Errorf("the server's connection: %v", err)
					}
				}
			})
		})
	}
}

// A server that ends is noticed although the client reads nothing, which loses what it
// does not take in time.
func TestAServerThatEndsIsNoticedWhileItsClientIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, 2, false)
		p.client.Send(t.Context(), message(echo, 16))
		server := mtwire.Server(<-p.servers, nil)
		if _, err := server.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := server.Send(t.Context(), message(echo, 10_000)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		server.Close()
		p.endsWithin(t, 10*time.Second)
		p.client.Close()
	})
}

// A slow client gets all that its server has sent before its end.
func TestASlowClientGetsWhatTheServerSentBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, 1, false)
		p.client.Send(t.Context(), message(echo, 16))
		server := mtwire.Server(<-p.servers, nil)
		server.Receive(t.Context())
		for range 3 {
			server.Send(t.Context(), message(echo, 10_000))
		}
		server.Close()
		for i := range 3 {
			time.Sleep(time.Second)
			if packet, err := p.client.Receive(t.Context()); err != nil || len(packet.Payload) != len(message(echo, 10_000)) {
				t.Fatalf("packet %d: %v", i, err)
			}
		}
		if _, err := p.client.Receive(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("then %v", err)
		}
		<-p.ended
		p.client.Close()
	})
}

// A client whose packets the server takes none of is not received from without end: one
// packet, and 64 KiB of memory, are on their way, however short the packets are. Its end,
// which is behind them, is unknown, so the relay gives up after minutes.
func TestABlockedServerBlocksItsClient(t *testing.T) {
	for length, most := range map[int]int{8: 60, 10_000: 6, 100_000: 3} {
		synctest.Test(t, func(t *testing.T) { blockServer(t, make([]byte, length), most) })
	}
}

func blockServer(t *testing.T, packet []byte, most int) {
	p := connect(t, 1, false)
	sent := 0
	for ; sent < 1000; sent++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := p.client.Send(ctx, packet)
		cancel()
		if err != nil {
			break
		}
	}
	if sent < most/2 || sent > most {
		t.Errorf("%d packets of %d bytes were taken", sent, len(packet))
	}
	p.endsWithin(t, 3*time.Minute)
	p.client.Close()
	(<-p.servers).Close()
}

// Nor is a server of which the client takes nothing, such as one that sends tokens without
// end.
func TestABlockedClientBlocksItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, 1, false)
		p.client.Send(t.Context(), message(echo, 16))
		server := <-p.servers
		go io.Copy(io.Discard, server)
		tokens, sent := bytes.Repeat([]byte{1, 2, 3, 0x80}, 64), 0
		for ; sent < 1000; sent++ {
			server.SetWriteDeadline(time.Now().Add(time.Minute))
			if _, err := server.Write(tokens); err != nil {
				break
			}
		}
		if sent > 300 { // a read takes 64 KiB
			t.Errorf("%d tokens were taken", 64*sent)
		}
		p.endsWithin(t, 3*time.Minute)
		p.client.Close()
		server.Close()
	})
}
