package fronting

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// tunnelGoroutines returns the goroutines of tunnels, and those in the pairs below
// them.
func tunnelGoroutines() (n int) {
	for stack := range strings.SplitSeq(ours(), "\n\n") {
		if strings.Contains(stack, "fronting.(*tunnel)") || strings.Contains(stack, "fronting.(*Preconnected)") ||
			strings.Contains(stack, "splice.(*direction)") {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for range 3000 {
		if condition() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not so: %s", what)
}

// A tunnel has no goroutine while no bytes move, and goes on afterwards.
func TestIdleTunnelsHaveNoGoroutines(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("hello"))}}})
	const tunnels = 20
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan outcome, tunnels)
	var clients []*net.TCPConn
	for i := range tunnels {
		client, server := pair(t)
		done := func(r Result, err error) { ended <- outcome{r, err} }
		if i%2 == 0 {
			p.StartTunnel(ctx, server, Client{}, []byte("first"), done)
		} else {
			preconnect(t, p).StartTunnel(ctx, server, []byte("first"), done)
		}
		expect(t, client, "hellofirst")
		clients = append(clients, client)
	}
	for range 3 {
		eventually(t, "no goroutine", func() bool { return tunnelGoroutines() == 0 })
		for _, client := range clients {
			send(t, client, "x")
			expect(t, client, "x")
		}
	}
	eventually(t, "no goroutine", func() bool { return tunnelGoroutines() == 0 })

	// Each end of an idle tunnel is noticed.
	clients[0].CloseWrite()
	expectEnd(t, clients[0])
	if got := <-ended; got != (outcome{Result{"a.example", 8, 13}, nil}) {
		t.Errorf("after the client's end: %+v", got)
	}
	clients[1].SetLinger(0)
	clients[1].Close()
	if got := <-ended; got.err == nil || got.Result != (Result{"a.example", 8, 13}) {
		t.Errorf("after a reset: %+v", got)
	}
	cancel()
	for range tunnels - 2 {
		if got := <-ended; got != (outcome{Result{"a.example", 8, 13}, context.Canceled}) {
			t.Errorf("after the end of the context: %+v", got)
		}
	}
}

// A preconnected client has no goroutine until its host acts.
func TestPreconnectedClientNeedsNoGoroutine(t *testing.T) {
	act := make(chan func(*net.TCPConn), 1)
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, func(conn *net.TCPConn) {
		(<-act)(conn)
		io.Copy(conn, conn)
	})}}})
	for name, test := range map[string]struct {
		host func(*net.TCPConn)
		want string
	}{
		"greeting": {func(conn *net.TCPConn) { io.WriteString(conn, "hello") }, "hello"},
		"end":      {func(conn *net.TCPConn) { conn.CloseWrite() }, ""},
	} {
		c := preconnect(t, p)
		ready := make(chan struct{}, 10)
		if !c.Await(func() { ready <- struct{}{} }) {
			t.Fatal("cannot wait")
		}
		eventually(t, "no goroutine", func() bool { return tunnelGoroutines() == 0 })
		if len(ready) > 0 {
			t.Errorf("%s: ready before", name)
		}
		act <- test.host
		<-ready
		wait(t, c)
		client, server := pair(t)
		done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, nil) })
		expect(t, client, test.want)
		client.CloseWrite()
		expectEnd(t, client)
		<-done
	}

	// After Close, or a tunnel that begins before the host acts, there is no call.
	c := preconnect(t, p)
	c.Await(func() { t.Error("ready after Close") })
	c.Close()
	act <- func(*net.TCPConn) {}
	c = preconnect(t, p)
	c.Await(func() { t.Error("ready after Tunnel") })
	client, server := pair(t)
	done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, []byte("x")) })
	act <- func(*net.TCPConn) {}
	expect(t, client, "x")
	client.Close()
	<-done
}

// A client that is not tunneled leaves nothing behind either: done is called before
// StartTunnel returns.
func TestStartTunnelReportsAFailure(t *testing.T) {
	p, _ := newPool(t, Config{})
	client, server := pair(t)
	client.CloseWrite() // ends the reading without an answer
	var got outcome
	p.StartTunnel(context.Background(), server, Client{}, nil, func(r Result, err error) { got = outcome{r, err} })
	if got.err != errNoHost {
		t.Errorf("%+v", got)
	}
	expectEnd(t, client)
}
