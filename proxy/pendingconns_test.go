package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// "A limit drawn at random for each": whoever says nothing is let go, with no
// fronting host or with one that cannot be reached.
func TestSilenceWithoutAHostHasAnEnd(t *testing.T) {
	for name, users := range map[string]string{"none": mtwiretest.PaddedSecret, "unreachable": mtwiretest.FakeTLSSecret} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := New(Config{
					Users: []User{{Secret: secretOf(t, users)}},
					Log:   slog.New(slog.DiscardHandler),
					DialContext: func(context.Context, string, string) (net.Conn, error) {
						return nil, errors.New("no route to host")
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				took := make(map[time.Duration]bool)
				for range 5 {
					client, server := net.Pipe()
					s := &session{proxy: p, socket: server, start: time.Now()}
					p.add(s)
					go s.run(t.Context(), mtwire.NewListener(nil, &p.listen))
					begin := time.Now()
					if _, err := client.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("it ended with %v", err)
					}
					age := time.Since(begin)
					if took[age] = true; age < minSilence || age > minSilence+silenceSpread+patience {
						t.Errorf("it was let go after %v", age)
					}
				}
				if len(took) < 2 {
					t.Error("each waited as long as the others")
				}
			})
		})
	}
}

// "The oldest silent one of that network is closed in favour of the new one":
// silent connections do not keep clients out.
func TestSilentCrowdMakesRoom(t *testing.T) {
	p := unserved(t)
	p.lobby.here, p.lobby.all = 10, 1000
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	var silent []net.Conn
	for i := range 20 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
		eventually(t, "it is accepted", func() bool { return p.Stats().Accepted == int64(i)+1 && p.lobby.size() == min(i+1, 10) })
	}
	for i, conn := range silent[:10] {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("silent connection %d: %v", i, err)
		}
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
	if n := p.lobby.size(); n != 9 {
		t.Errorf("%d are left of ten, of whom one made room for clients", n)
	}
}

// Whoever has spoken and is not known makes room as well, when nobody silent is
// left to: strangers of two addresses would keep all clients out otherwise.
func TestSpeakingCrowdMakesRoom(t *testing.T) {
	p := unserved(t)
	p.lobby.here, p.lobby.all = 10, 10
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	for i := range 10 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("hello"))
		eventually(t, "it is heard", func() bool { return p.lobby.spoken() == i+1 })
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
}

// spoken is how many have said something.
func (c *lobby) spoken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.everyone.spoken.Len()
}

func (c *lobby) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.everyone.count()
}

// visitor is a session from there.
func visitor(t *testing.T, from string) *session {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	return &session{socket: server, source: netip.AddrPortFrom(netip.MustParseAddr(from), 1)}
}

func gone(s *session) bool { return s.cause == errFull }

// "A cap for each network and in all", a network being an address of IPv4 or a
// /64; who is silent makes room before who has spoken, and nothing is kept of
// the gone.
func TestLobbyIsLimitedHereAndInAll(t *testing.T) {
	c := lobby{here: 2, all: 4}
	a, b, d := visitor(t, "2001:db8::1"), visitor(t, "2001:db8::2"), visitor(t, "2001:db8::3")
	for _, s := range []*session{a, b, d} {
		c.enter(s, true)
	}
	if !gone(a) || gone(b) || gone(d) {
		t.Error("it was not the oldest who left")
	}
	c.spoke(d)
	c.spoke(b)
	e := visitor(t, "2001:db8::4")
	if c.enter(e, true); !gone(d) || gone(b) || c.size() != 2 {
		t.Error("it was not who spoke first who left")
	}
	f, g := visitor(t, "192.0.2.1"), visitor(t, "192.0.2.2")
	c.enter(f, true)
	c.enter(g, true)
	h := visitor(t, "192.0.2.3")
	if c.enter(h, true); !gone(e) || gone(b) || gone(f) || gone(g) {
		t.Error("the oldest silent one of all did not make room")
	}
	if c.enter(h, false); c.size() != 4 {
		t.Error("it is counted twice")
	}
	if c.enter(a, false); c.size() != 4 || gone(b) || gone(f) {
		t.Error("who made room comes in again")
	}
	for range 2 {
		for _, s := range []*session{a, b, d, e, f, g, h} {
			c.leave(s)
		}
	}
	if c.size() != 0 || len(c.groups) != 0 {
		t.Errorf("%d connections and %d networks are remembered", c.size(), len(c.groups))
	}
}
