package mtwire_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtwiretest"
)

// countingConn counts its Writes.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A packet is as many Writes below as Send documents: one, over FakeTLS one for each 64
// KiB, and over WebSocket one up to 63 KiB.
func TestWritesOfAPacketAreAsDocumented(t *testing.T) {
	for url, writes := range map[string]func(length int) (least, most int64){
		"tcp://%s":                 func(int) (least, most int64) { return 1, 1 },
		"tcp://%s?obfuscated=true": func(int) (least, most int64) { return 1, 1 },
		"tcp://%s?secret=dd" + mtwiretest.PlainSecret: func(int) (least, most int64) { return 1, 1 },
		"tcp://%s?secret=" + mtwiretest.FakeTLSSecret: func(length int) (least, most int64) {
			return int64(length>>16 + 1), int64((length+15+4)>>16 + 1) // with padding and envelope
		},
		"ws://%s/apiws": func(length int) (least, most int64) {
			if length <= 63<<10 {
				return 1, 1
			}
			return 2, int64(length>>10) + 2
		},
	} {
		config := &mtwire.ListenConfig{Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true}
		client, server := countedPair(t, url, config)
		for _, side := range []struct {
			name       string
			from, to   *mtwire.Conn
			connection *countingConn
		}{{"client", client.Conn, server.Conn, client.below}, {"server", server.Conn, client.Conn, server.below}} {
			for _, blocks := range []int{3, 1000, 4029, 4096, 70000} {
				length := 24 + 16*blocks
				done := make(chan error, 1)
				go func() {
					_, err := side.to.Receive(short(t))
					done <- err
				}()
				before := side.connection.writes.Load()
				if err := side.from.Send(short(t), encrypted(blocks)); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				least, most := writes(length)
				if n := side.connection.writes.Load() - before; n < least || n > most {
					t.Errorf("%s, %s: %d writes for %d bytes, want %d to %d", url, side.name, n, length, least, most)
				}
			}
		}
	}
}

// counted is a Conn and the connection below, which counts its Writes.
type counted struct {
	*mtwire.Conn
	below *countingConn
}

// countedPair returns both ends of a connection on which a packet was exchanged.
func countedPair(t *testing.T, url string, config *mtwire.ListenConfig) (client, server counted) {
	near, far := tcpPair(t)
	client.below, server.below = &countingConn{Conn: far}, &countingConn{Conn: near}
	server.Conn = mtwire.Server(server.below, config)
	received := make(chan error, 1)
	go func() {
		_, err := server.Receive(short(t))
		received <- err
	}()
	var err error
	client.Conn, err = mtwire.Dial(short(t), fmt.Sprintf(url, "a.example:1"), &mtwire.DialConfig{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return client.below, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	if err := client.Send(short(t), encrypted(3)); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	return client, server
}

// The functions of a ListenConfig are called concurrently for different connections: each
// call waits here until there are two.
func TestFunctionsOfAListenConfigAreCalledConcurrently(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	both := make(map[string]*meeting)
	for _, name := range []string{"Allow", "Replay", "ServerHello", "Time", "Unauthenticated", "Rand"} {
		both[name] = &meeting{met: make(chan struct{})}
	}
	config := &mtwire.ListenConfig{
		Secrets:         []mtwire.Secret{secret},
		Allow:           func(mtwire.Transport) error { both["Allow"].wait(t, "Allow"); return nil },
		Replay:          func([16]byte) bool { both["Replay"].wait(t, "Replay"); return false },
		ServerHello:     func(string) (s faketls.ServerHelloShape) { both["ServerHello"].wait(t, "ServerHello"); return s },
		Time:            func() time.Time { both["Time"].wait(t, "Time"); return time.Now() },
		Unauthenticated: func(context.Context, net.Conn, error) { both["Unauthenticated"].wait(t, "Unauthenticated") },
		Rand:            readerFunc(func(p []byte) (int, error) { both["Rand"].wait(t, "Rand"); return rand.Read(p) }),
	}
	address := startEcho(t, config)
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			conn, err := mtwire.Dial(short(t), fmt.Sprintf("tcp://%s?secret=%s", address, mtwiretest.FakeTLSSecret), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Send(short(t), encrypted(3))
			if _, err := conn.Receive(short(t)); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			conn, err := net.Dial("tcp", address.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Write(make([]byte, 64))
			conn.Read(make([]byte, 1))
		})
	}
	running.Wait()
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// meeting lets the first two callers of wait go on when both have called it.
type meeting struct {
	calls atomic.Int64
	met   chan struct{}
}

func (m *meeting) wait(t *testing.T, name string) {
	if m.calls.Add(1) == 2 {
		close(m.met)
	}
	select {
	case <-m.met:
	case <-time.After(20 * time.Second):
		t.Errorf("%s: only one call at a time", name)
	}
}

// What an HTTP client promises is different: the context of Send is for the wait alone and
// ends nothing, other kinds of packets are refused, and packets are the caller's.
func TestHTTPClientDiffersAsDocumented(t *testing.T) {
	client, err := mtwire.Dial(short(t), "http://"+startEcho(t, nil).String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 8 {
		if err := client.Send(short(t), encrypted(3)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := client.Send(ctx, encrypted(3)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the ninth packet: %v", err)
	}
	if err := client.SendPacket(short(t), mtwire.Packet{Payload: encrypted(3), AckWanted: true}); !errors.Is(err, mtwire.ErrNotOverHTTP) {
		t.Errorf("with an acknowledgement: %v", err)
	}
	var kept, copies [][]byte
	for range 8 {
		p, err := client.Receive(short(t))
		if err != nil {
			t.Fatal(err)
		}
		kept, copies = append(kept, p.Payload), append(copies, bytes.Clone(p.Payload))
	}
	for i := range kept {
		if !bytes.Equal(kept[i], copies[i]) {
			t.Errorf("packet %d was overwritten", i)
		}
	}
	if err := client.Send(short(t), encrypted(4)); err != nil {
		t.Errorf("then: %v", err)
	}
}

// A Send that its context ended while it waited for its turn has sent nothing, and later
// ones go on.
func TestSendThatWaitedForItsTurnChangesNothing(t *testing.T) {
	server, client := serve(t, nil)
	client.Write(unhex("ef"))
	if err := server.Handshake(short(t)); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	big := make(chan error, 1)
	go func() { big <- server.Send(short(t), make([]byte, 32<<20)) }()
	client.Read(make([]byte, 1)) // it has begun
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	for _, ctx := range []context.Context{ended, ctx} {
		if err := server.Send(ctx, make([]byte, 4)); !errors.Is(err, ctx.Err()) {
			t.Errorf("behind another: %v", err)
		}
	}
	go io.Copy(io.Discard, client)
	if err := <-big; err != nil {
		t.Error(err)
	}
	if err := server.Send(short(t), make([]byte, 4)); err != nil {
		t.Errorf("then: %v", err)
	}
}
