package loadgen

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An echo that is due while the one before on its connection is unanswered is missed.
func TestEchoThatIsDueTooEarlyIsMissed(t *testing.T) {
	dc := startDataCenter(t)
	const interval = 10 * time.Millisecond
	slow := serveEach(t, func(conn net.Conn) {
		server, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			return
		}
		defer server.Close()
		go copyOneWay(server, conn, func() { server.Close() })
		copyOneWay(conn, &delayed{server, 5 * interval}, func() { server.Close() })
	})
	plan := smallPlan(dc, direct(slow))
	plan.Phases, plan.Turns = []Phase{PhaseChat}, 1
	plan.Chat = ChatLoad{Connections: 1, Interval: interval}
	var c *Chat
	for plan.Time = 20 * interval; c == nil || c.Missed == 0 || c.Echoes == 0; plan.Time *= 4 { // a slow machine needs more
		if plan.Time > time.Minute {
			t.Fatalf("%+v", c)
		}
		report, err := Run(testContext(t), plan)
		if err != nil {
			t.Fatal(err)
		}
		c = report.Proxy.Chat
	}
	if c.P50 < float64(5*interval/time.Microsecond) {
		t.Errorf("%+v", c)
	}
}

// delayed delays what it reads.
type delayed struct {
	net.Conn
	delay time.Duration
}

func (d *delayed) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	time.Sleep(d.delay)
	return n, err
}

// A chat fails if one of its connections does: the error names the phase, the side
// and the connection. This proxy closes connections at their second message.
func TestChatFailsWithOneConnection(t *testing.T) {
	dc := startDataCenter(t)
	var accepted atomic.Int32
	closing := serveEach(t, func(conn net.Conn) {
		server, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			return
		}
		defer server.Close()
		abort := func() { server.Close(); conn.Close() }
		if accepted.Add(1) == 4 { // the first is the check's
			go func() { io.CopyN(server, conn, 64+4+MinLength+1); abort() }()
		} else {
			go copyOneWay(server, conn, abort)
		}
		copyOneWay(conn, server, abort)
	})
	plan := smallPlan(dc, direct(closing))
	plan.Phases, plan.Time = []Phase{PhaseChat}, time.Minute
	_, err := Run(testContext(t), plan)
	if err == nil || !isClosed(err) || !strings.HasPrefix(err.Error(), "chat: through the proxy: connection ") {
		t.Error(err)
	}
}

// A byte that changes in an echo of a chat is an error.
func TestChatVerifiesItsEchoes(t *testing.T) {
	dc := startDataCenter(t)
	broken := serveEach(t, func(conn net.Conn) {
		server, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			return
		}
		defer server.Close()
		go copyOneWay(server, conn, func() { server.Close() })
		// Beyond the first echo, in the data of the second.
		copyOneWay(conn, &flipper{server, 1 << 30, 4 + MinLength + 4 + 100}, func() { server.Close() })
	})
	plan := smallPlan(dc, direct(broken))
	plan.Phases, plan.Time = []Phase{PhaseChat}, time.Minute
	if _, err := Run(testContext(t), plan); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// A limit on file descriptors that is too low for a phase is an error before the
// first phase, and the error has the number that is needed.
func TestTooFewDescriptorsAreAnError(t *testing.T) {
	dc := startDataCenter(t)
	limit := descriptorLimit()
	if limit > 1e8 {
		t.Skip("no limit on descriptors here")
	}
	for phase, set := range map[Phase]func(*Plan, int){
		PhaseIdle: func(p *Plan, n int) { p.Idle = n },
		PhaseChat: func(p *Plan, n int) { p.Chat.Connections = n; p.Chat.Interval = time.Hour },
	} {
		plan := smallPlan(dc, direct(dc.Addr()))
		plan.Phases = []Phase{PhaseLatency, phase}
		set(&plan, limit/2)
		started := false
		plan.Progress = func(string) { started = true }
		_, err := Run(testContext(t), plan)
		want := string(phase) + ": the load generator needs "
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "ulimit -n") || started {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
