package relay_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// from is a connection from an address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(f.address), Port: 1}
}

// crowd is a relay whose clients are pipes from addresses, and whose server echoes.
type crowd struct {
	relay   *relay.Relay
	running sync.WaitGroup
}

// add adds a client that has sent a message, unless it is silent.
func (c *crowd) add(t *testing.T, address string, silent bool) *mtwire.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	c.running.Go(func() {
		c.relay.Handle(context.Background(), mtwire.Server(from{ours, address}, nil))
	})
	client, err := mtwire.Client(t.Context(), theirs, mtwire.Endpoint{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if !silent && !answers(t, client) {
		t.Fatalf("a new client of %s gets no answer", address)
	}
	return client
}

// answers reports whether a client gets an answer.
func answers(t *testing.T, client *mtwire.Conn) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if client.Send(ctx, message(echo, 16)) != nil {
		return false
	}
	_, err := client.Receive(ctx)
	return err == nil
}

// newCrowd makes room for 8 clients, of which 4 may have one address.
func newCrowd(t *testing.T) *crowd {
	c := &crowd{}
	c.relay = newRelay(t, 1, func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		c.running.Go(func() {
			conn := mtwire.Server(theirs, nil)
			defer conn.Close()
			serve(context.Background(), conn)
		})
		return ours, nil
	})
	return c
}

// One address fills its share at most, at the cost of its own connections, and the clients
// of others stay.
func TestOneAddressHasAShareOfTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		client := c.add(t, "198.51.100.1", false)
		var flood []*mtwire.Conn
		for range 20 {
			flood = append(flood, c.add(t, "203.0.113.7", false))
		}
		synctest.Wait()
		if stats := c.relay.Stats(); stats.Unauthenticated != 5 || stats.Open != 5 || stats.Evicted != 16 {
			t.Errorf("%+v", stats)
		}
		if !answers(t, client) || !answers(t, flood[19]) {
			t.Error("a client has made room for those of another network")
		}
		if answers(t, flood[0]) {
			t.Error("the oldest connection of the flood goes on")
		}
		client.Close()
		for _, conn := range flood {
			conn.Close()
		}
		c.running.Wait()
	})
}

// Connections that have sent nothing make room before those whose packets move, and one
// that is blocked ends as well.
func TestSilentConnectionsMakeRoomFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		addresses := strings.Fields("198.51.100.1 198.51.101.1 198.51.102.1 198.51.103.1 198.51.104.1 198.51.105.1 198.51.106.1 198.51.107.1 198.51.108.1")
		moving := c.add(t, addresses[0], false)
		blocked := c.add(t, addresses[1], false)
		for range 30 { // the answers of which it does not read
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			blocked.Send(ctx, message(echo, 10_000))
			cancel()
		}
		var clients []*mtwire.Conn
		for _, address := range addresses[2:8] {
			clients = append(clients, c.add(t, address, true))
		}
		time.Sleep(3 * time.Second)
		answers(t, moving)
		for range 7 {
			clients = append(clients, c.add(t, addresses[8], false))
			time.Sleep(3 * time.Second)
			if !answers(t, moving) {
				t.Fatal("a client whose packets move has made room")
			}
		}
		synctest.Wait()
		if stats := c.relay.Stats(); stats.Unauthenticated > 8 || stats.Evicted != 7 {
			t.Errorf("%+v", stats)
		}
		for _, conn := range append(clients, moving, blocked) {
			conn.Close()
		}
		c.running.Wait()
	})
}

// A client with a secret is none of those that make room.
func TestClientsWithASecretDoNotMakeRoom(t *testing.T) {
	secret, err := mtwire.ParseSecret(secrets[1])
	if err != nil {
		t.Fatal(err)
	}
	to := endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve))
	address, r := start(t, relay.Config{To: []mtwire.Endpoint{to}, MaxUnauthenticated: 2}, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
	host, port, _ := net.SplitHostPort(address)
	link := "tg://proxy?server=" + host + "&port=" + port + "&secret=" + secrets[1]
	var clients []*mtwire.Conn
	for range 5 {
		client, err := mtwire.Dial(t.Context(), link, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
		if !answers(t, client) {
			t.Error("a new client gets no answer")
		}
	}
	for _, client := range clients {
		if !answers(t, client) {
			t.Error("a client with a secret has made room")
		}
	}
	if stats := r.Stats(); stats.Unauthenticated != 0 || stats.Open != 5 {
		t.Errorf("%+v", stats)
	}
}

// The packets that are on their way share a memory: at its limit the network that holds
// most makes room.
func TestPacketsOnTheirWayShareAMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		var theirs []net.Conn
		c.relay = newRelay(t, 1, func(context.Context, string, string) (net.Conn, error) {
			ours, stuck := net.Pipe()
			theirs = append(theirs, stuck)
			return ours, nil
		})
		send := func(address string) *mtwire.Conn {
			client := c.add(t, address, true)
			client.Send(t.Context(), message(echo, 1_000_000))
			synctest.Wait()
			return client
		}
		small := send("198.51.100.1")
		for range 5 {
			send("203.0.113.7")
		}
		if stats := c.relay.Stats(); stats.Open != 3 {
			t.Errorf("%d clients hold 1 MB each of 3 MiB", stats.Open)
		}
		if err := small.Send(t.Context(), message(echo, 16)); err != nil {
			t.Errorf("the client of another network: %v", err)
		}
		for _, conn := range theirs {
			conn.Close()
		}
		c.running.Wait()
	})
}

// A packet that waits for one before it, which its server does not take, is in that memory too.
func TestPacketsThatWaitForOthersShareAMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		var theirs []net.Conn
		c.relay = newRelay(t, 1, func(context.Context, string, string) (net.Conn, error) {
			ours, stuck := net.Pipe()
			theirs = append(theirs, stuck)
			return ours, nil
		})
		for range 6 {
			client := c.add(t, "203.0.113.7", true)
			client.Send(t.Context(), message(echo, 16))
			client.Send(t.Context(), message(echo, 1_000_000))
			synctest.Wait()
		}
		if stats := c.relay.Stats(); stats.Open != 3 {
			t.Errorf("%d clients have 1 MB each of 3 MiB waiting", stats.Open)
		}
		for _, conn := range theirs {
			conn.Close()
		}
		c.running.Wait()
	})
}

// Packets of servers that arrive in part share a memory as well, however many clients a
// hostile server has.
func TestIncompletePacketsOfServersShareAMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		part := append(binary.LittleEndian.AppendUint32(nil, 1<<20), make([]byte, 900_000)...)
		c.relay = newRelay(t, 1, func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			c.running.Go(func() { theirs.Write(part) })
			return ours, nil
		})
		var clients []*mtwire.Conn
		for range 8 {
			client := c.add(t, "198.51.100.1", true)
			client.Send(t.Context(), message(echo, 16))
			clients = append(clients, client)
			synctest.Wait()
		}
		if stats := c.relay.Stats(); stats.Open < 1 || stats.Open > 3 {
			t.Errorf("%d servers have 1 MB each of 3.5 MiB on the way", stats.Open)
		}
		for _, client := range clients {
			client.Close()
		}
		c.running.Wait()
	})
}
