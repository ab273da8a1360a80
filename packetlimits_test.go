package mtwire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// stalling is a connection that sends so many bytes, once begin is called, and no more:
// its Writes succeed all the same.
type stalling struct {
	net.Conn
	begun bool
	left  int
}

func (s *stalling) begin(left int) { s.begun, s.left = true, left }

func (s *stalling) Write(b []byte) (int, error) {
	if s.begun {
		part := b[:min(len(b), s.left)]
		s.left -= len(part)
		if _, err := s.Conn.Write(part); err != nil || len(part) == 0 {
			return len(b), err
		}
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// from is a connection of a client with that address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr {
	address, _ := net.ResolveTCPAddr("tcp", f.address+":1000")
	return address
}

// inEveryMode calls test for each mode, in a bubble, with both ends of a connection on
// which a message was sent to the server and answered, and the client's socket.
func inEveryMode(t *testing.T, config *mtwire.ListenConfig, test func(t *testing.T, server, client *mtwire.Conn, socket *stalling)) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now() // a bubble's clock is long before the certificate
	clientTLS.Time = func() time.Time { return now }
	config.TLS, config.ObfuscatedFull, config.AllowNoSecret = serverTLS, true, true
	config.Secrets = []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}
	for _, m := range append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...) {
		t.Run(m.Transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				server, socket := mtwire.Server(near, config), &stalling{Conn: far}
				defer server.Close()
				answered := make(chan error, 1)
				go func() {
					_, err := server.Receive(context.Background())
					if err == nil {
						err = server.Send(context.Background(), encrypted(3))
					}
					answered <- err
				}()
				client, err := mtwire.Dial(context.Background(), fmt.Sprintf(m.URL, "localhost:1"), &mtwire.DialConfig{
					TLS: clientTLS, ObfuscatedFull: true,
					DialContext: func(context.Context, string, string) (net.Conn, error) { return socket, nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				defer far.Close()
				if err := client.Send(context.Background(), encrypted(3)); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Receive(context.Background()); err != nil {
					t.Fatal(err)
				}
				if err := <-answered; err != nil {
					t.Fatal(err)
				}
				test(t, server, client, socket)
			})
		})
	}
}

// A client that stops inside a packet is ended 30 seconds after the packet's first byte,
// and a second later for each 16 KiB that it has sent: over every transport. Calls of Receive whose contexts end early gain no time, and the
// time between two calls is not the client's.
func TestRestOfAPacketHasALimit(t *testing.T) {
	inEveryMode(t, &mtwire.ListenConfig{}, func(t *testing.T, server, client *mtwire.Conn, socket *stalling) {
		socket.begin(40_000)
		go client.Send(context.Background(), encrypted(5000))
		inFrames := server.Transport().Carrier != mtwire.TCP // a context that ends inside a frame or request is the end
		var waited time.Duration
		var err error
		for err == nil || errors.Is(err, context.DeadlineExceeded) {
			ctx, cancel := context.WithCancel(context.Background())
			if !inFrames {
				time.Sleep(time.Hour)
				cancel()
				ctx, cancel = context.WithTimeout(context.Background(), 5*time.Second)
			}
			start := time.Now()
			_, err = server.Receive(ctx)
			waited += time.Since(start)
			cancel()
		}
		if least, most := 30*time.Second, 38*time.Second; !errors.Is(err, mtwire.ErrPacketTimeout) || waited < least || waited > most {
			t.Errorf("after %v: %v", waited, err)
		}
		if _, again := server.Receive(context.Background()); !errors.Is(again, mtwire.ErrPacketTimeout) {
			t.Errorf("then: %v", again)
		}
	})
}

// The first packet has the same limit, in each framing.
func TestRestOfTheFirstPacketHasALimit(t *testing.T) {
	for _, begun := range []string{"ef7f000100", "eeeeeeee00040000", "dddddddd00040000", "000400000000000000"} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			server := mtwire.Server(near, &mtwire.ListenConfig{PacketTimeout: time.Minute})
			defer server.Close()
			go far.Write(append(unhex(begun), make([]byte, 100)...))
			start := time.Now()
			_, err := server.Receive(context.Background())
			if took := time.Since(start).Round(time.Second); !errors.Is(err, mtwire.ErrPacketTimeout) || took != time.Minute {
				t.Errorf("%s: after %v: %v", begun, took, err)
			}
			far.Close()
		})
	}
}

// A client that sends steadily, faster than PacketRate, has any time for a packet.
func TestSteadyClientHasAnyTime(t *testing.T) {
	for _, url := range []string{"tcp://%s?obfuscated=true", "ws://%s/apiws", "http://%s/api"} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			server := mtwire.Server(near, &mtwire.ListenConfig{PacketTimeout: 5 * time.Second, PacketRate: 10_000})
			defer server.Close()
			dial := func(context.Context, string, string) (net.Conn, error) { return &steady{Conn: far}, nil }
			var sending sync.WaitGroup
			sending.Go(func() {
				client, err := mtwire.Dial(context.Background(), fmt.Sprintf(url, "a.example:1"), &mtwire.DialConfig{DialContext: dial})
				if err != nil {
					t.Error(err)
					return
				}
				client.Send(context.Background(), encrypted(50_000))
				client.Receive(context.Background())
				client.Close()
			})
			start := time.Now()
			p, err := server.Receive(context.Background())
			if took := time.Since(start); err != nil || len(p.Payload) != 24+50_000*16 || took < 50*time.Second {
				t.Errorf("%s: after %v: %d bytes, %v", url, took, len(p.Payload), err)
			}
			far.Close()
			sending.Wait()
		})
	}
}

// steady is a connection that sends at most 11,000 bytes a second.
type steady struct{ net.Conn }

func (s *steady) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		part := b[n:min(len(b), n+11_000)]
		time.Sleep(time.Duration(len(part)) * time.Second / 11_000)
		var k int
		k, err = s.Conn.Write(part)
		n += k
	}
	return n, err
}

// Clients that send 15 of 16 parts of the longest packet and then nothing hold no more
// than PacketMemory, however many they are, on every carrier. The error of those that made
// room has its own name.
func TestIncompletePacketsStayWithinTheMemory(t *testing.T) {
	const longest, limit, clients = 4 << 20, 16 << 20, 16
	for _, url := range []string{
		"tcp://%s", "tcp://%s?obfuscated=true", "tcp://%s?secret=" + mtwiretest.FakeTLSSecret, "ws://%s/apiws", "http://%s/api",
	} {
		memory := mtwire.NewPacketMemory(limit)
		ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true,
			MaxLength: longest, PacketMemory: memory,
		})
		if err != nil {
			t.Fatal(err)
		}
		before := heap()
		ended := make(chan error, clients)
		ctx, cancel := context.WithCancel(short(t))
		served := make(chan error, 1)
		go func() {
			served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
				_, err := conn.Receive(ctx)
				ended <- err
			})
		}()
		var sending sync.WaitGroup
		for range clients {
			socket, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			sending.Go(func() { sendPart(t, ctx, fmt.Sprintf(url, ln.Addr()), socket, longest) })
		}
		sending.Wait()
		for range clients - limit/longest {
			if err := <-ended; !errors.Is(err, mtwire.ErrPacketMemory) {
				t.Errorf("%s: %v", url, err)
			}
			if used := memory.Used(); used > limit {
				t.Errorf("%s: %d bytes used", url, used)
			}
		}
		if held := heap() - before; held > limit+limit/2 {
			t.Errorf("%s: %d MiB held, limit %d", url, held>>20, limit>>20)
		}
		cancel()
		<-served
		if used := memory.Used(); used != 0 {
			t.Errorf("%s: %d bytes used at the end", url, used)
		}
	}
}

// sendPart sends 15 of 16 parts of a packet of length bytes on socket.
func sendPart(t *testing.T, ctx context.Context, url string, socket net.Conn, length int) {
	payload := make([]byte, length-16) // leaves room for 15 bytes of padding
	if strings.HasPrefix(url, "http:") {
		fmt.Fprintf(socket, "POST /api HTTP/1.1\r\nContent-Length: %d\r\n\r\n", length)
		socket.Write(payload[:length/16*15])
		return
	}
	stopping := &stalling{Conn: socket}
	client, err := mtwire.Dial(ctx, url, &mtwire.DialConfig{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return stopping, nil },
	})
	if err != nil {
		t.Error(err)
		return
	}
	stopping.begin(length / 16 * 15)
	client.Send(ctx, payload)
}

// heap returns the size of all reachable objects in bytes.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied in the second
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// The clients of one network make room for one of another, whose long packet arrives. Those
// that no Receive waits for make room too, and learn it from the next.
func TestNetworkThatHoldsMostMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &mtwire.ListenConfig{PacketMemory: mtwire.NewPacketMemory(4 << 20)}
		var attackers []*mtwire.Conn
		receive := func(conn *mtwire.Conn, sent []byte, socket net.Conn) error {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				socket.Write(sent)
				if len(sent) < 1<<20 { // it is read, and incomplete
					cancel()
				}
			}()
			_, err := conn.Receive(ctx)
			return err
		}
		for i := range 8 {
			near, far := net.Pipe()
			defer far.Close()
			attacker := mtwire.Server(from{near, fmt.Sprintf("192.0.2.%d", i)}, config)
			defer attacker.Close()
			if err := receive(attacker, append(unhex("eeeeeeee"+"00001000"), make([]byte, 900<<10)...), far); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			attackers = append(attackers, attacker)
		}
		near, far := net.Pipe()
		client := mtwire.Server(from{near, "198.51.100.1"}, config)
		defer far.Close()
		defer client.Close()
		if err := receive(client, append(unhex("eeeeeeee"+"00001000"), make([]byte, 1<<20)...), far); err != nil {
			t.Errorf("the client of another network: %v", err)
		}
		made := 0
		for _, attacker := range attackers {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := attacker.Receive(ctx)
			if cancel(); errors.Is(err, mtwire.ErrPacketMemory) {
				made++
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		if used := config.PacketMemory.Used(); made < 4 || made == 8 || used > 4<<20 {
			t.Errorf("%d of 8 made room, %d bytes used", made, used)
		}
	})
}

// A PacketMemory that NewPacketMemory did not make is one, too.
func TestZeroPacketMemoryHasALimit(t *testing.T) {
	memory := &mtwire.PacketMemory{}
	if used := memory.Used(); used != 0 {
		t.Error(used)
	}
	server, client := serve(t, &mtwire.ListenConfig{PacketMemory: memory})
	packet := append(unhex("eeeeeeee"+"00001000"), make([]byte, 1<<20)...)
	go client.Write(packet)
	if p, err := server.Receive(short(t)); err != nil || len(p.Payload) != 1<<20 {
		t.Errorf("%d bytes, %v", len(p.Payload), err)
	}
}
