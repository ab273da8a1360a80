package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// greeter returns a host that sends greeting at once, and then echoes.
func greeter(greeting string) func(net.Conn) {
	return func(conn net.Conn) {
		io.WriteString(conn, greeting)
		io.Copy(conn, conn)
	}
}

// A client that is silent for a while gets the host's greeting, and goes on with
// that host.
func TestSilentClientGetsTheGreetingOfTheHost(t *testing.T) {
	hosts := map[string]func(net.Conn){"front.test:22": greeter("SSH-2.0-host\r\n")}
	inBubble(t, Config{Fronts: map[string]Front{"": {Address: "front.test:22"}}}, hosts, func(t *testing.T, b *bubble) {
		begin := time.Now()
		conn := b.connect()
		if got := read(t, conn, 14); got != "SSH-2.0-host\r\n" || time.Since(begin) != mirrorDelay {
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

// A silent client is closed when the host closes, and not before.
func TestSilentClientIsClosedWhenTheHostCloses(t *testing.T) {
	const wait = 75 * time.Second
	hosts := map[string]func(net.Conn){"front.test:443": func(net.Conn) { time.Sleep(wait) }}
	inBubble(t, Config{Fronts: map[string]Front{"": {Address: "front.test:443"}}}, hosts, func(t *testing.T, b *bubble) {
		begin := time.Now()
		conn := b.connect()
		n, err := conn.Read(make([]byte, 1))
		passed := time.Since(begin)
		if n != 0 || err != io.EOF || passed < mirrorDelay+wait || passed > mirrorDelay+wait+2*time.Minute {
			t.Errorf("%d bytes, %v after %v", n, err, passed)
		}
	})
}

// answerLines sends each line back, and nothing before its end.
func answerLines(conn net.Conn) {
	for b, line := make([]byte, 1024), []byte(nil); ; {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if line = append(line, b[:n]...); bytes.HasSuffix(line, []byte("\r\n")) {
			conn.Write(line)
			line = nil
		}
	}
}

// A client that sends its handshake late is served: the connection to the host is
// closed, and nothing of it reaches the client. An unauthenticated client that is as late goes on with the host
// that was connected for it.
func TestClientThatSendsLateIsAuthenticated(t *testing.T) {
	var visits atomic.Int32
	hosts := map[string]func(net.Conn){
		"dc.test:443": echoing(10),
		"front.test:443": func(conn net.Conn) {
			visits.Add(1)
			answerLines(conn)
		},
	}
	config := Config{
		Fronts:      map[string]Front{"": {Address: "front.test:443"}},
		DataCenters: at("dc.test:443"),
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		for range 2 {
			client := b.connect()
			time.Sleep(time.Hour)
			echo(t, b.joinOn(client, mtwiretest.FakeTLSSecret, 4), 3)
		}
		synctest.Wait()
		if s := b.Stats(); visits.Load() != 2 || s.Authenticated != 2 || s.Unauthenticated != 0 {
			t.Errorf("%d visits to the fronting host, %+v", visits.Load(), s)
		}
		other := b.connect()
		time.Sleep(time.Hour)
		io.WriteString(other, "GET / HTTP/1.0\r\n")
		if got := read(t, other, 16); got != "GET / HTTP/1.0\r\n" || visits.Load() != 3 {
			t.Errorf("%q, %d visits", got, visits.Load())
		}
	})
}

// A client that stops in the middle of a handshake gets the fronting host's answer to
// that much, at once.
func TestHalfAHandshakeEndsAtTheHost(t *testing.T) {
	hosts := map[string]func(net.Conn){"front.test:443": func(conn net.Conn) { io.Copy(conn, conn) }}
	for name, first := range map[string][]byte{
		"an init payload": initOf(t, [16]byte{}, mtwire.PaddedIntermediate)[:40],
		"a hello":         helloOf(t, [16]byte{}, "a.example")[:300],
		"a letter":        []byte("G"),
	} {
		inBubble(t, Config{Fronts: map[string]Front{"": {Address: "front.test:443"}}}, hosts, func(t *testing.T, b *bubble) {
			begin := time.Now()
			conn := b.connect()
			conn.Write(first)
			got := read(t, conn, len(first))
			if passed := time.Since(begin); got != string(first) || passed != mirrorDelay {
				t.Errorf("%s: %q after %v", name, got, passed)
			}
		})
	}
}

// A fronting host that is unreachable delays no client.
func TestClientDoesNotWaitForAHostThatIsDown(t *testing.T) {
	for name, front := range map[string]string{"no answer": "silent.test:443", "refused": "nowhere.test:443"} {
		hosts := map[string]func(net.Conn){"dc.test:443": echoing(10), "silent.test:443": nil}
		config := Config{
			Fronts:      map[string]Front{"": {Address: front}},
			DataCenters: at("dc.test:443"),
		}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			for _, late := range []time.Duration{mirrorDelay + time.Second, minSilence - time.Second} {
				client := b.connect()
				time.Sleep(late)
				begin := time.Now()
				echo(t, b.joinOn(client, mtwiretest.FakeTLSSecret, 4), 3)
				if passed := time.Since(begin); passed != 0 {
					t.Errorf("%s: a client that sent first after %v had to wait for %v", name, late, passed)
				}
			}
		})
	}
}

// Without a fronting host, and with one that is unreachable, a silent client is
// closed after a time that is drawn at random for each.
func TestSilenceWithoutAHostHasAnEnd(t *testing.T) {
	for name, secret := range map[string]string{"none": mtwiretest.PaddedSecret, "unreachable": mtwiretest.FakeTLSSecret} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProxy(t, Config{
					Users: onlyUser(t, secret),
					Log:   slog.New(slog.DiscardHandler),
					DialContext: func(context.Context, string, string) (net.Conn, error) {
						return nil, errors.New("no route to host")
					},
				})
				took := make(map[time.Duration]bool)
				for range 5 {
					client, server := net.Pipe()
					p.handle(server)
					begin := time.Now()
					if _, err := client.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("it ended with %v", err)
					}
					age := time.Since(begin)
					if took[age] = true; age < minSilence || age > minSilence+silenceSpread+mirrorDelay {
						t.Errorf("it was closed after %v", age)
					}
				}
				if len(took) < 2 {
					t.Error("each waited as long as the others")
				}
			})
		})
	}
}
