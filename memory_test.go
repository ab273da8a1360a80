package mtwire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A header that announces 16 MiB makes the server allocate no more than the bytes that
// arrived need.
func TestAnnouncedLengthAllocatesNothing(t *testing.T) {
	const connections = 100
	var before, after runtime.MemStats
	var servers []*mtwire.Conn
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range connections {
		server, client := serve(t, nil)
		if _, err := client.Write(append(unhex("eeeeeeee"+"00000001"), make([]byte, 100)...)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
		servers = append(servers, server)
	}
	runtime.GC()
	runtime.GC() // pools are emptied in the second
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / connections; each > 16<<10 {
		t.Errorf("%d bytes for each connection that announced 16 MiB", each)
	}
	runtime.KeepAlive(servers)
}

// The memory for a packet of the largest size is at most eight times the packet, on every
// carrier: it grows in proportion.
func TestLargestPacketAllocatesInProportion(t *testing.T) {
	for _, url := range []string{
		"tcp://%s", "tcp://%s?obfuscated=true", "ws://%s/apiws", "tcp://%s?secret=" + mtwiretest.FakeTLSSecret,
	} {
		ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		sent := make(chan error, 1)
		go func() {
			conn, err := mtwire.Dial(short(t), fmt.Sprintf(url, ln.Addr()), nil)
			if err == nil {
				defer conn.Close()
				err = conn.Send(short(t), encrypted(1<<20-3)) // leaves room for 15 bytes of padding
			}
			if err == nil {
				_, err = conn.Receive(short(t))
			}
			sent <- err
		}()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Handshake(short(t)); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := server.Receive(short(t))
		runtime.ReadMemStats(&after)
		if err != nil || len(p.Payload) != 24+16*(1<<20-3) {
			t.Fatalf("%s: %d bytes, %v", url, len(p.Payload), err)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 8*16<<20 {
			t.Errorf("%s: %d MiB for a packet of 16", url, taken>>20)
		}
		server.Close()
		<-sent
	}
}

// A context that outlives its connections holds none of them: neither of unauthenticated
// clients nor of silent ones.
func TestContextsDoNotHoldEndedConnections(t *testing.T) {
	for name, sent := range map[string][]byte{
		"unauthenticated": append(unhex("1603013ff001003fec0303"), make([]byte, 16<<10)...),
		"silent":          nil,
	} {
		ctx, cancel := context.WithCancel(context.Background())
		const connections = 200
		var ended []weakConn
		for range connections {
			near, far := net.Pipe()
			server := mtwire.Server(near, &mtwire.ListenConfig{
				Secrets:         []mtwire.Secret{secretOf(t, mtwiretest.PaddedSecret)},
				Unauthenticated: func(context.Context, net.Conn, error) {},
			})
			go func() {
				far.Write(sent)
				far.Close()
			}()
			if err := server.Handshake(ctx); err == nil {
				t.Fatal("the client was authenticated")
			}
			server.Close()
			ended = append(ended, weak.Make(server))
		}
		kept := 0
		for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(10 * time.Millisecond) { // the other end's goroutine
			runtime.GC()
			kept = 0
			for _, c := range ended {
				if c.Value() != nil {
					kept++
				}
			}
			if kept == 0 {
				break
			}
		}
		if kept > 0 {
			t.Errorf("%s: %d of %d connections are still held", name, kept, connections)
		}
		cancel()
	}
}

type weakConn = weak.Pointer[mtwire.Conn]

// Send makes one Write for a packet, which includes the header or init payload of the first
// one.
func TestEachPacketIsOneWrite(t *testing.T) {
	for _, m := range append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...) {
		ep, err := mtwire.ParseEndpoint(fmt.Sprintf(m.URL, "127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		if ep.Carrier != mtwire.TCP || ep.Secret.Mode == mtproxy.FakeTLS {
			continue // the packages of these layers test it
		}
		w := &writeCounter{}
		conn, err := mtwire.Client(short(t), w, ep, &mtwire.DialConfig{ObfuscatedFull: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, blocks := range []int{3, 100, 4096, 70000} {
			if err := conn.Send(short(t), encrypted(blocks)); err != nil {
				t.Fatal(err)
			}
			if w.writes != i+1 {
				t.Errorf("%s: %d writes for %d packets", m.Transport, w.writes, i+1)
			}
		}
	}
}
