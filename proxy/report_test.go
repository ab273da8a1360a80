package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A report has what is known at its stage, and nothing else.
func TestReportHasWhatIsKnownAtItsStage(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"silent.test:443": echoing(0),
		"echo.test:443":   echoing(1),
		"slow.test:443":   nil,
		"front.test:443":  func(conn net.Conn) { io.Copy(conn, conn) },
	}
	alice := user(t, "alice", mtwiretest.PlainSecret)
	config := Config{
		Users:       []User{alice},
		DataCenters: map[datacenter.DC][]string{1: {"silent.test:443"}, 2: {"echo.test:443"}, 3: {"slow.test:443"}},
		Fronts:      map[string]Front{"": {Address: "front.test:443"}},
	}
	const packet = 4 + 24 + 48 // a length and a payload, without padding
	relayed := func(stage Stage, mode mtproxy.Modes, dc datacenter.DC, address string) Report {
		return Report{
			Stage: stage, User: &alice, Mode: mode, Protocol: mtwire.PaddedIntermediate, DC: dc,
			Upstream: "direct", Address: address,
		}
	}
	dialled := relayed(Dialled, mtproxy.DD, 1, "silent.test:443")
	up, down := relayed(FirstByteUp, mtproxy.DD, 1, "silent.test:443"), relayed(FirstByteDown, mtproxy.EE, -2, "echo.test:443")
	up.Up, down.Up, down.Down = packet, packet, packet
	for _, c := range []struct {
		visit  func(t *testing.T, b *bubble)
		open   Report
		closed Report // zero if it is the same
	}{
		{func(t *testing.T, b *bubble) { b.connect() },
			Report{Stage: Accepted}, Report{}},
		{func(t *testing.T, b *bubble) { b.connect().Write(initOf(t, keyOf(0), mtwire.Abridged)[:50]) },
			Report{Stage: ClientBytes}, Report{Stage: ClientBytes, Front: "front.test", Up: 50}},
		{func(t *testing.T, b *bubble) {
			conn := b.connect()
			conn.Write(initOf(t, keyOf(0), mtwire.Abridged))
			read(t, conn, 64)
		}, Report{Stage: ClientBytes}, Report{Stage: ClientBytes, Front: "front.test", Up: 64, Down: 64}},
		{func(t *testing.T, b *bubble) {
			conn := b.connect()
			conn.Write(helloOf(t, secretOf(t, mtwiretest.PlainSecret).Key, "a.example"))
			read(t, conn, 127)
			go readAll(conn)
		}, Report{Stage: ServerHelloSent, User: &alice, Mode: mtproxy.EE}, Report{}},
		{func(t *testing.T, b *bubble) { b.joinOn(b.connect(), mtwiretest.PaddedSecret, 3).Handshake(b.ctx) },
			Report{Stage: Authenticated, User: &alice, Mode: mtproxy.DD, Protocol: mtwire.PaddedIntermediate, DC: 3}, Report{}},
		{func(t *testing.T, b *bubble) { b.joinOn(b.connect(), mtwiretest.PaddedSecret, 1).Handshake(b.ctx) },
			dialled, Report{}},
		{func(t *testing.T, b *bubble) {
			b.joinOn(b.connect(), mtwiretest.PaddedSecret, 1).Send(b.ctx, payload(3))
		},
			up, Report{}},
		{func(t *testing.T, b *bubble) { echo(t, b.joinOn(b.connect(), mtwiretest.FakeTLSSecret, -2), 3) },
			down, Report{}},
	} {
		ended := &reports{}
		config.Traces = []*Trace{ended.trace()}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			check := func(when string, got, want Report) {
				t.Helper()
				if got.Up < want.Up || got.Down < want.Down || got.Up > want.Up+15 || got.Down > want.Down+15 {
					t.Errorf("%s, %v: %d bytes up, %d down", when, want.Stage, got.Up, got.Down)
				}
				if (got.User == nil) != (want.User == nil) || got.User != nil && got.User != b.Users()[0] {
					t.Errorf("%s, %v: user %v", when, want.Stage, got.User)
				}
				want.Client, want.Up, want.Down, want.User = clientAddress.String(), got.Up, got.Down, got.User
				want.Duration, want.Idle, want.Err = got.Duration, got.Idle, got.Err
				if got != want {
					t.Errorf("%s: %+v\nwant %+v", when, got, want)
				}
			}
			c.visit(t, b)
			time.Sleep(2 * time.Second)
			for s := range b.Sessions() {
				r := s.Report()
				check("open", r, c.open)
				if r.Err != nil || r.Duration != 2*time.Second || (r.Idle != 0) != (r.Up > 0) || r.Idle > r.Duration {
					t.Errorf("%+v", r)
				}
			}
			b.closeAll(errStopping)
			all := ended.wait(t, 1)
			if c.closed == (Report{}) {
				c.closed = c.open
			}
			if check("closed", all[0], c.closed); len(all) != 1 || !errors.Is(all[0].Err, errStopping) {
				t.Errorf("%+v", all)
			}
		})
	}
}

// Errors of sockets have the client's address in their text, and Report.Err has
// not.
func TestClientsAddressIsRedactedInErrors(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	address := start(t, Config{Log: log.logger(), DataCenters: allAt(dc)})
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
}

// The text of Report.Err has one line, without the address of the client and of its
// load balancer. The error behind it is found.
func TestErrIsOneLineWithoutAddresses(t *testing.T) {
	near, _ := net.Pipe()
	balancer := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 99}
	direct := &session{socket: &addressed{near, clientAddress}}
	behind := &session{socket: &addressed{near, balancer}, source: netip.MustParseAddrPort("192.0.2.7:4567")}
	reset := &net.OpError{Op: "read", Net: "tcp", Source: balancer, Addr: clientAddress, Err: syscall.ECONNRESET}
	for _, c := range []struct {
		s        *session
		up, down error
		closed   error
		want     string
	}{
		{direct, nil, nil, nil, "<nil>"},
		{direct, reset, nil, nil, "read tcp 10.0.0.1:99->[client]: connection reset by peer"},
		{direct, reset, io.ErrUnexpectedEOF, nil, "read tcp 10.0.0.1:99->[client]: connection reset by peer; unexpected EOF"},
		{behind, reset, nil, nil, "read tcp [client]->[client]: connection reset by peer"},
		{behind, nil, reset, fmt.Errorf("%v is\na flood: %w", clientAddress, reset), "[client] is; a flood: read tcp [client]->[client]: connection reset by peer"},
	} {
		c.s.closed = c.closed
		err := c.s.cause(splice.Result{Err: c.up}, splice.Result{Err: c.down})
		if got := fmt.Sprint(err); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
		var op *net.OpError
		if err != nil && (!errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op)) {
			t.Errorf("%v is not the error behind it", err)
		}
	}
}

// The client of a Unix socket has no address, so nothing is redacted.
func TestErrorsOfUnnamedPeersStayReadable(t *testing.T) {
	for _, remote := range []string{"", "@"} {
		near, _ := net.Pipe()
		s := &session{socket: &addressed{near, &net.UnixAddr{Name: remote, Net: "unix"}}}
		for _, text := range []string{"unexpected EOF", "the quota of alice@example.com is used up"} {
			if got := s.cause(splice.Result{Err: errors.New(text)}, splice.Result{}).Error(); got != text {
				t.Errorf("%q: %s", remote, got)
			}
		}
	}
}

// The report of a session that has ended stays as it was at the end.
func TestReportOfAnEndedSessionDoesNotChange(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1)}
	var ended Session
	var last Report
	config := Config{DataCenters: at("dc.test:443"), Traces: []*Trace{{Closed: func(s Session, r Report) { ended, last = s, r }}}}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		echo(t, b.join(mtwiretest.PaddedSecret), 3)
		time.Sleep(time.Minute)
		b.closeAll(errStopping)
		time.Sleep(time.Hour)
		if now := ended.Report(); now != last || last.Duration != time.Minute || last.Idle >= time.Minute {
			t.Errorf("%+v\nan hour before: %+v", now, last)
		}
	})
}
