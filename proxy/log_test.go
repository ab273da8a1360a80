package proxy

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// The line of a session has its stage, and what is known at that stage.
func TestLogLineHasTheStage(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"silent.test:443": echoing(0),
		"echo.test:443":   echoing(1),
	}
	config := Config{DataCenters: map[datacenter.DC][]string{
		1: {"silent.test:443"}, 2: {"echo.test:443"}, 3: {"nowhere.test:443"},
	}}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		as := func(dc mtwire.DC) *mtwire.Conn { return b.joinOn(b.connect(), mtwiretest.PaddedSecret, dc) }
		send := func(conn *mtwire.Conn) {
			if err := conn.Send(b.ctx, payload(3)); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			visit func()
			want  string
		}{
			{func() { b.connect().Close() },
				`stage=accepted up=0 down=0`}, // at level Debug
			{func() { conn := b.connect(); conn.Write(make([]byte, 500)); conn.Close() },
				`stage="client bytes" up=0 down=0`},
			{func() {
				conn := b.connect()
				hello := helloOf(t, secretOf(t, mtwiretest.FakeTLSSecret).Key, "example.com")
				conn.Write(hello)
				synctest.Wait()
				read(t, conn, 127)
				conn.Close()
			}, `stage="server hello sent" user=alice mode=ee up=0 down=0`},
			{func() { conn := as(77); conn.Handshake(b.ctx); synctest.Wait(); conn.Close() },
				`stage=authenticated user=alice mode=dd protocol=padded-intermediate dc=77 up=0 down=0`},
			{func() { conn := as(3); conn.Handshake(b.ctx); synctest.Wait(); conn.Close() },
				`stage=authenticated user=alice mode=dd protocol=padded-intermediate dc=3 up=0 down=0`},
			{func() { conn := as(1); conn.Handshake(b.ctx); synctest.Wait(); conn.Close() },
				`stage=dialled user=alice mode=dd protocol=padded-intermediate dc=1 address=silent.test:443 via=direct up=0 down=0`},
			{func() { conn := as(1); send(conn); synctest.Wait(); conn.Close() },
				`stage="first byte up" user=alice mode=dd protocol=padded-intermediate dc=1 address=silent.test:443 via=direct up=`},
			{func() { conn := as(2); echo(t, conn, 3); conn.Close() },
				`stage="first byte down" user=alice mode=dd protocol=padded-intermediate dc=2 address=echo.test:443 via=direct up=`},
		} {
			c.visit()
			time.Sleep(2 * time.Minute) // pipes have no half-close
			level := "INFO"
			if strings.HasPrefix(c.want, "stage=accepted") {
				level = "DEBUG"
			}
			if got := b.log.last(); !strings.HasPrefix(got, "level="+level+" msg=closed "+c.want) {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		}
		if s := b.Stats(); s.Unreachable != 2 || s.Authenticated != 5 || s.Accepted != 8 || s.Unauthenticated != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// The line of a session that the proxy closes has the cause, at every stage.
func TestLogLineHasTheCauseOfClose(t *testing.T) {
	hosts := map[string]func(net.Conn){"echo.test:443": echoing(1), "slow.test:443": nil, "example.com:443": nil}
	config := Config{
		Users:       []User{user(t, "alice", mtwiretest.PlainSecret), user(t, "", mtwiretest.FakeTLSSecret)},
		DataCenters: map[datacenter.DC][]string{2: {"echo.test:443"}, 3: {"slow.test:443"}},
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		join := func(dc mtwire.DC) *mtwire.Conn {
			conn := b.joinOn(b.connect(), mtwiretest.PaddedSecret, dc)
			go conn.Handshake(b.ctx)
			return conn
		}
		for stage, visit := range map[string]func(){
			"accepted":          func() { b.connect() },
			`"client bytes"`:    func() { b.connect().Write(make([]byte, 500)) },
			"authenticated":     func() { join(3) },
			"dialled":           func() { join(2) },
			`"first byte down"`: func() { echo(t, join(2), 3) },
		} {
			visit()
			synctest.Wait()
			b.closeAll(errStopping)
			line := b.log.last()
			if !strings.Contains(line, " stage="+stage+" ") || !strings.HasSuffix(strings.TrimSpace(line), `cause="the proxy stops"`) {
				t.Errorf("%s, at stage %s", line, stage)
			}
		}
	})
}

// The client's address is in an attribute of its own with LogClients, and nowhere
// else.
func TestClientsAddressIsLoggedOnlyWithLogClients(t *testing.T) {
	hosts := map[string]func(net.Conn){"echo.test:443": echoing(1)}
	for _, logged := range []bool{false, true} {
		config := Config{DataCenters: at("echo.test:443"), LogClients: logged}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			b.connect().Close()
			unauthenticated := b.connect()
			unauthenticated.Write(make([]byte, 500))
			unauthenticated.Close()
			conn := b.join(mtwiretest.FakeTLSSecret)
			echo(t, conn, 3)
			conn.Close()
			time.Sleep(2 * time.Minute)
			all := b.log.lines("msg=closed")
			named := b.log.lines(" client=192.0.2.7:4567 ")
			if logged && len(named) != 3 || !logged && len(named) != 0 || len(all) != 3 {
				t.Errorf("%d of %d lines have the address", len(named), len(all))
			}
			if n := strings.Count(strings.Join(all, "\n"), "192.0.2.7"); n != len(named) {
				t.Errorf("the address is there %d times, in %d lines", n, len(named))
			}
		})
	}
}

// The lines of a connection that is closed because its address has too many name the network
// of that, and the address with LogClients only.
func TestAddressThatHasTooManyConnectionsIsLoggedOnlyWithLogClients(t *testing.T) {
	for _, logged := range []bool{false, true} {
		inBubble(t, Config{MaxUnauthenticatedPerAddress: 1, LogClients: logged}, nil, func(t *testing.T, b *bubble) {
			b.connect().Write(make([]byte, 5))
			b.connect()
			synctest.Wait()
			warnings, ends := b.log.lines("to make room"), b.log.lines("msg=closed")
			if len(warnings) != 1 || len(ends) != 1 {
				t.Fatalf("%q, %q", warnings, ends)
			}
			for _, line := range []string{warnings[0], ends[0]} {
				if !strings.Contains(line, "limit of 1 for an address of 192.0.2.0/24") || strings.Contains(line, "192.0.2.7") != logged {
					t.Error(line)
				}
			}
		})
	}
}

// Each session has one line, and the first of a user another one, without the secret and the client's address.
func TestLogHasOneLineForEachSession(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	address := start(t, Config{DataCenters: allAt(dc), Log: log.logger()})
	conn := join(t, address, "dc=-2&secret="+mtwiretest.FakeTLSSecret)
	client := conn.LocalAddr().String()
	conn.Close()
	eventually(t, "a line", func() bool { return len(log.closed("")) > 0 })
	text := strings.Join(log.lines(""), "\n")
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, `level=INFO msg="first connection of this user" user=alice mode=ee protocol=padded-intermediate dc=-2`+"\n") || !strings.Contains(text, "stage=\"first byte down\" user=alice mode=ee protocol=padded-intermediate dc=-2 address="+dc.String()+" via=direct up=") ||
		!strings.Contains(text, `cause="end of stream"`) {
		t.Errorf("%s", text)
	}
	if strings.Contains(text, mtwiretest.PlainSecret) || strings.Contains(text, client) {
		t.Errorf("the secret or the client's address is in the log: %s", text)
	}
}

// The first connection of each user has a line when it is authenticated, without the
// client's address unless that is wanted; further ones have none.
func TestFirstConnectionOfEachUserIsLogged(t *testing.T) {
	hosts := map[string]func(net.Conn){"echo.test:443": echoing(1)}
	for _, c := range []struct {
		config Config
		want   []string
	}{
		{Config{}, []string{"user=alice mode=dd", "user=bob mode=ee"}},
		{Config{LogClients: true}, []string{"client=192.0.2.7:4567", "client=192.0.2.7:4567"}},
		{Config{DisableConnectionLog: true}, nil},
	} {
		c.config.DataCenters = at("echo.test:443")
		c.config.Users = []User{user(t, "alice", mtwiretest.PlainSecret), user(t, "bob", mtwiretest.FakeTLSSecret)}
		c.config.Users[1].Secrets[0].Key[0]++
		inBubble(t, c.config, hosts, func(t *testing.T, b *bubble) {
			bob, err := c.config.Users[1].Secrets[0].MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				for _, secret := range []string{mtwiretest.PaddedSecret, string(bob)} {
					conn := b.join(secret)
					conn.Handshake(b.ctx)
					synctest.Wait()
					conn.Close()
				}
			}
			lines := b.log.lines("first connection of this user")
			if len(lines) != len(c.want) {
				t.Fatalf("%q", lines)
			}
			for i, want := range c.want {
				if !strings.Contains(lines[i], want) || !c.config.LogClients && strings.Contains(lines[i], "192.0.2.7") {
					t.Errorf("%s, want %s", lines[i], want)
				}
			}
		})
	}
}

// The log does not keep the names of users that were removed: one that is added again has its
// first connection again.
func TestLogForgetsUsersThatWereRemoved(t *testing.T) {
	hosts := map[string]func(net.Conn){"echo.test:443": echoing(1)}
	inBubble(t, Config{DataCenters: at("echo.test:443")}, hosts, func(t *testing.T, b *bubble) {
		alice, bob := user(t, "alice", mtwiretest.PlainSecret), user(t, "bob", mtwiretest.FakeTLSSecret)
		for i, list := range [][]User{{alice}, {alice, bob}, {bob}, {alice}} {
			if err := b.SetUsers(list); err != nil {
				t.Fatal(err)
			}
			if _, kept := b.Proxy.log.users.Load("alice"); kept != (i == 1) {
				t.Errorf("%d: the name of the user is kept: %v", i, kept)
			}
			if i != 2 {
				conn := b.join(mtwiretest.PaddedSecret)
				conn.Handshake(b.ctx)
				synctest.Wait()
				conn.Close()
			}
		}
		if lines := b.log.lines("first connection of this user"); len(lines) != 2 {
			t.Errorf("%q", lines)
		}
	})
}
