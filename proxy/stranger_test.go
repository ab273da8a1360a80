package proxy

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// greeter says a word to whoever connects, and echoes.
func greeter(word string) func(net.Conn) {
	return func(conn net.Conn) {
		io.WriteString(conn, word)
		io.Copy(conn, conn)
	}
}

// read reads so many bytes, within what is no time in a bubble.
func read(t *testing.T, conn net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	conn.SetReadDeadline(time.Now().Add(time.Hour))
	got, err := io.ReadFull(conn, b)
	if err != nil {
		t.Fatalf("%q, %v", b[:got], err)
	}
	return string(b)
}

// "Silence: a host that speaks first." Whoever says nothing for a while sees
// what the host says to that, and goes on with it.
func TestSilentClientHearsTheHostThatSpeaksFirst(t *testing.T) {
	hosts := map[string]func(net.Conn){"front.test:22": greeter("SSH-2.0-host\r\n")}
	inBubble(t, Config{Fronts: map[string]string{"": "front.test:22"}}, hosts, func(t *testing.T, b *bubble) {
		begin := time.Now()
		conn := b.connect()
		if got := read(t, conn, 14); got != "SSH-2.0-host\r\n" || time.Since(begin) != patience {
			t.Errorf("%q after %v", got, time.Since(begin))
		}
		io.WriteString(conn, "SSH-2.0-client\r\n")
		if got := read(t, conn, 16); got != "SSH-2.0-client\r\n" {
			t.Errorf("%q came back", got)
		}
		conn.Close()
		time.Sleep(2 * time.Minute) // pipes have no half-close
		if s := b.Stats(); s.Authenticated != 0 || s.Open != 0 || s.Up != 16 || s.Down != 30 {
			t.Errorf("%+v", s)
		}
	})
}

// "Silence: a host that closes after a while": then, and not before, it closes.
func TestSilentClientIsLeftWhenTheHostLeaves(t *testing.T) {
	const wait = 75 * time.Second
	hosts := map[string]func(net.Conn){"front.test:443": func(net.Conn) { time.Sleep(wait) }}
	inBubble(t, Config{Fronts: map[string]string{"": "front.test:443"}}, hosts, func(t *testing.T, b *bubble) {
		begin := time.Now()
		conn := b.connect()
		n, err := conn.Read(make([]byte, 1))
		if passed := time.Since(begin); n != 0 || err != io.EOF || passed < patience+wait || passed > patience+wait+2*time.Minute {
			t.Errorf("%d bytes, %v after %v", n, err, passed)
		}
	})
}

// A client may take its time: the host was asked meanwhile, and lets it go
// without a word. A stranger that takes as long goes on with the host that it
// was connected to all the time.
func TestClientThatSpeaksLateIsNoStranger(t *testing.T) {
	var visits atomic.Int32
	hosts := map[string]func(net.Conn){
		"dc.test:443": echoing(10),
		"front.test:443": func(conn net.Conn) {
			visits.Add(1)
			io.Copy(conn, conn)
		},
	}
	config := Config{
		Fronts:      map[string]string{"": "front.test:443"},
		DataCenters: map[datacenter.DC][]string{0: {"dc.test:443"}},
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		for range 2 {
			client := b.connect()
			time.Sleep(time.Hour)
			echo(t, b.joinOn(client, mtwiretest.FakeTLSSecret), 3)
		}
		synctest.Wait()
		if s := b.Stats(); visits.Load() != 2 || s.Authenticated != 2 || s.Strangers != 0 {
			t.Errorf("%d visits to the fronting host, %+v", visits.Load(), s)
		}
		stranger := b.connect()
		time.Sleep(time.Hour)
		io.WriteString(stranger, "GET / HTTP/1.0\r\n")
		if got := read(t, stranger, 16); got != "GET / HTTP/1.0\r\n" || visits.Load() != 3 {
			t.Errorf("%q, %d visits", got, visits.Load())
		}
	})
}

// Whoever begins to speak and does not go on gets the fronting host as well,
// and nothing before it.
func TestHalfAHandshakeEndsAtTheHost(t *testing.T) {
	hosts := map[string]func(net.Conn){"front.test:443": func(conn net.Conn) { io.Copy(conn, conn) }}
	for name, first := range map[string][]byte{
		"an init payload": initOf(t, [16]byte{}, mtwire.PaddedIntermediate)[:40],
		"a hello":         helloOf(t, [16]byte{}, "a.example")[:300],
		"a letter":        []byte("G"),
	} {
		inBubble(t, Config{Fronts: map[string]string{"": "front.test:443"}}, hosts, func(t *testing.T, b *bubble) {
			begin := time.Now()
			conn := b.connect()
			conn.Write(first)
			got := read(t, conn, len(first))
			if passed := time.Since(begin); got != string(first) || passed < 10*time.Second || passed > 15*time.Second {
				t.Errorf("%s: %q after %v", name, got, passed)
			}
		})
	}
}

// A fronting host that cannot be reached keeps no client waiting.
func TestClientDoesNotWaitForAHostThatIsDown(t *testing.T) {
	for name, front := range map[string]string{"no answer": "silent.test:443", "refused": "nowhere.test:443"} {
		hosts := map[string]func(net.Conn){"dc.test:443": echoing(10), "silent.test:443": nil}
		config := Config{
			Fronts:      map[string]string{"": front},
			DataCenters: map[datacenter.DC][]string{0: {"dc.test:443"}},
		}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			for _, late := range []time.Duration{patience + time.Second, minSilence - time.Second} {
				client := b.connect()
				time.Sleep(late)
				begin := time.Now()
				echo(t, b.joinOn(client, mtwiretest.FakeTLSSecret), 3)
				if passed := time.Since(begin); passed != 0 {
					t.Errorf("%s: a client that spoke after %v had to wait for %v", name, late, passed)
				}
			}
		})
	}
}
