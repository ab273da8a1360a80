package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// "Each stage in the log line."
func TestLogLineSaysHowFarAConnectionCame(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"silent.test:443": echoing(0),
		"echo.test:443":   echoing(1),
	}
	config := Config{DataCenters: map[datacenter.DC][]string{
		1: {"silent.test:443"}, 2: {"echo.test:443"}, 3: {"nowhere.test:443"},
	}}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		as := func(dc mtwire.DC) *mtwire.Conn {
			secret := secretOf(t, mtwiretest.PaddedSecret)
			conn, err := mtwire.Client(b.ctx, b.connect(), mtwire.Endpoint{Secret: secret, DC: dc}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
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
				`stage=accepted up=0 down=0`},
			{func() { conn := b.connect(); conn.Write(make([]byte, 500)); conn.Close() },
				`stage=hello up=0 down=0`},
			{func() {
				conn := b.connect()
				hello := helloOf(t, secretOf(t, mtwiretest.FakeTLSSecret).Key, "example.com")
				conn.Write(hello)
				synctest.Wait()
				read(t, conn, 127)
				conn.Close()
			}, `stage=answered user=everybody mode=ee up=0 down=0`},
			{func() { conn := as(77); conn.Handshake(b.ctx); synctest.Wait(); conn.Close() },
				`stage=authenticated user=everybody mode=dd protocol=padded-intermediate dc=77 up=0 down=0`},
			{func() { conn := as(3); conn.Handshake(b.ctx); synctest.Wait(); conn.Close() },
				`stage=authenticated user=everybody mode=dd protocol=padded-intermediate dc=3 up=0 down=0`},
			{func() { conn := as(1); conn.Handshake(b.ctx); synctest.Wait(); conn.Close() },
				`stage=dialled user=everybody mode=dd protocol=padded-intermediate dc=1 address=silent.test:443 via=direct up=0 down=0`},
			{func() { conn := as(1); send(conn); synctest.Wait(); conn.Close() },
				`stage="first byte up" user=everybody mode=dd protocol=padded-intermediate dc=1 address=silent.test:443 via=direct up=`},
			{func() { conn := as(2); echo(t, conn, 3); conn.Close() },
				`stage="first byte down" user=everybody mode=dd protocol=padded-intermediate dc=2 address=echo.test:443 via=direct up=`},
		} {
			c.visit()
			time.Sleep(2 * time.Minute) // pipes have no half-close
			if got := b.log.last(); !strings.HasPrefix(got, "level=INFO msg=closed "+c.want) {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		}
		if s := b.Stats(); s.Unreachable != 2 || s.Authenticated != 5 || s.Accepted != 8 || s.Strangers != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Who is let go hears nothing of it; the log says why it was, however far it
// had come.
func TestLogLineSaysWhyTheProxyEndedAConnection(t *testing.T) {
	hosts := map[string]func(net.Conn){"echo.test:443": echoing(1), "slow.test:443": nil, "example.com:443": nil}
	config := Config{
		Users:       []User{{Name: "everybody", Secret: secretOf(t, mtwiretest.PlainSecret)}, {Secret: secretOf(t, mtwiretest.FakeTLSSecret)}},
		DataCenters: map[datacenter.DC][]string{2: {"echo.test:443"}, 3: {"slow.test:443"}},
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		join := func(dc mtwire.DC) *mtwire.Conn {
			conn, err := mtwire.Client(b.ctx, b.connect(), mtwire.Endpoint{Secret: secretOf(t, mtwiretest.PaddedSecret), DC: dc}, nil)
			if err != nil {
				t.Fatal(err)
			}
			go conn.Handshake(b.ctx)
			return conn
		}
		for stage, visit := range map[string]func(){
			"accepted":          func() { b.connect() },
			"hello":             func() { b.connect().Write(make([]byte, 500)) },
			"authenticated":     func() { join(3) },
			"dialled":           func() { join(2) },
			`"first byte down"`: func() { echo(t, join(2), 3) },
		} {
			visit()
			synctest.Wait()
			b.each(func(s *session) { s.abort(errStopping) })
			synctest.Wait()
			line := b.log.last()
			if !strings.Contains(line, " stage="+stage+" ") || !strings.HasSuffix(strings.TrimSpace(line), `cause="the proxy stops"`) {
				t.Errorf("%s, at stage %s", line, stage)
			}
		}
	})
}

// "No client address unless LogClients": then it is in an attribute of its own,
// and in no other.
func TestClientsAddressIsLoggedOnlyWhenAskedFor(t *testing.T) {
	hosts := map[string]func(net.Conn){"echo.test:443": echoing(1)}
	for _, wanted := range []bool{false, true} {
		config := Config{DataCenters: map[datacenter.DC][]string{0: {"echo.test:443"}}, LogClients: wanted}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			b.connect().Close()
			stranger := b.connect()
			stranger.Write(make([]byte, 500))
			stranger.Close()
			conn := b.join(mtwiretest.FakeTLSSecret)
			echo(t, conn, 3)
			conn.Close()
			time.Sleep(2 * time.Minute)
			all := b.log.lines("msg=closed")
			named := b.log.lines(" client=192.0.2.7:4567 ")
			if wanted && len(named) != 3 || !wanted && len(named) != 0 || len(all) != 3 {
				t.Errorf("%d of %d lines have the address", len(named), len(all))
			}
			if n := strings.Count(strings.Join(all, "\n"), "192.0.2.7"); n != len(named) {
				t.Errorf("the address is there %d times, in %d lines", n, len(named))
			}
		})
	}
}

// "The errors' text has the client address redacted": sockets put it there.
func TestClientsAddressIsRedactedInErrors(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	address := start(t, Config{Log: log.logger(), DataCenters: map[datacenter.DC][]string{0: {dc.String()}}})
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		var socket *net.TCPConn
		conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+secret, &mtwire.DialConfig{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				socket = conn.(*net.TCPConn)
				return conn, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, conn, 3)
		before := len(log.lines("msg=closed"))
		socket.SetLinger(0) // a reset
		socket.Close()
		eventually(t, "a line", func() bool { return len(log.lines("msg=closed")) == before+1 })
		line := log.last()
		if !strings.Contains(line, "reset by peer") || strings.Contains(line, socket.LocalAddr().String()) {
			t.Error(line)
		}
	}
	near, _ := net.Pipe()
	s := &session{socket: &addressed{near, clientAddress}}
	err := &net.OpError{Op: "read", Net: "tcp", Source: address, Addr: clientAddress, Err: errors.New("reset\nor so")}
	if got, want := s.describe(err), "read tcp "+address.String()+"->[client]: reset; or so"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A connection that does not know where it comes from has nothing to redact.
func TestErrorsOfNamelessPeersStayReadable(t *testing.T) {
	for _, remote := range []string{"", "@"} {
		near, _ := net.Pipe()
		s := &session{socket: &addressed{near, &net.UnixAddr{Name: remote, Net: "unix"}}}
		if got := s.describe(io.ErrUnexpectedEOF); got != "unexpected EOF" {
			t.Errorf("%q: %s", remote, got)
		}
	}
}

// "Strangers' lines are limited and say how many were left out."
func TestStrangersDoNotFillTheLog(t *testing.T) {
	inBubble(t, Config{}, nil, func(t *testing.T, b *bubble) {
		visit := func() {
			b.connect().Close()
			synctest.Wait()
		}
		for range 150 {
			visit()
		}
		if n := len(b.log.lines("msg=closed")); n < strangerBurst || n > strangerBurst+1 {
			t.Errorf("%d lines at once", n)
		}
		left := 150 - len(b.log.lines("msg=closed"))
		time.Sleep(2 * strangerLines)
		visit()
		if want := fmt.Sprintf("stage=accepted unlogged_before=%d ", left); !strings.Contains(b.log.last(), want) {
			t.Errorf("%s, want %s", b.log.last(), want)
		}
		time.Sleep(time.Hour)
		before := len(b.log.lines("msg=closed"))
		for range strangerBurst {
			visit()
		}
		if n := len(b.log.lines("msg=closed")) - before; n != strangerBurst {
			t.Errorf("%d lines of %d after an hour", n, strangerBurst)
		}
		if n := len(b.log.lines("unlogged_before")); n != 1 {
			t.Errorf("%d lines say that others were left out", n)
		}
	})
}
