//go:build unix

package loadgen

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// sharedDataCenters returns two data centres with one socket.
func sharedDataCenters(t *testing.T) (one, two *DataCenter) {
	t.Helper()
	ln := listen(t)
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	shared, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	return NewDataCenter(ln), NewDataCenter(shared)
}

// readWriter is both ends of two pipes.
type readWriter struct {
	io.Reader
	io.WriteCloser
}

// startBulk serves the data centre with ServeBulk until the test ends.
func startBulk(t *testing.T, dc *DataCenter) io.ReadWriter {
	orders, toOrders := io.Pipe()
	answers, toAnswers := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- ServeBulk(testContext(t), dc, normalPriority, orders, toAnswers)
		toAnswers.Close()
	}()
	t.Cleanup(func() {
		toOrders.Close()
		if err := <-served; err != nil {
			t.Error("ServeBulk:", err)
		}
	})
	return readWriter{answers, toOrders}
}

// The downloads and uploads beside a chat are made by the process of ServeBulk, with
// every kind of secret, and nothing else is: one that accepted connections of the
// chat, or between its turns, would have its part of the echoes.
func TestBulkBesideAChatIsMadeByItsProcess(t *testing.T) {
	dc, bulk := sharedDataCenters(t)
	const secret = "ee000102030405060708090a0b0c0d0e0f6578616d706c652e636f6d"
	plan := smallPlan(dc, endpoint(t, startProxy(t, secret, dc.Addr().String()), "secret="+secret))
	plan.Bulk = startBulk(t, bulk) // before dc.Serve, as FileListener changes the socket
	run(t, dc.Serve)
	plan.Raw = startRawRelay(t, dc)
	plan.Phases = []Phase{PhaseChat, PhaseChatDownload, PhaseChatUpload, PhaseChurn}
	report, err := Run(testContext(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range report.sides() {
		for _, c := range []*Chat{side.ChatDownload, side.ChatUpload} {
			if c == nil || c.Echoes < 2 || c.MiBPerSecond <= 0 {
				t.Fatalf("%+v", c)
			}
		}
	}
	if priority := report.Settings.Chat.BulkPriority; priority != normalPriority {
		t.Errorf("the process has priority %q in the report", priority)
	}
	// Two phases on two sides in two turns, with two connections each.
	if n := bulk.Accepted(); n != 2*2*2*2 {
		t.Errorf("the process has accepted %d connections", n)
	}
}

// An error of the process names the phase and the side, as one of the runner does.
func TestErrorOfTheBulkProcessEndsTheRun(t *testing.T) {
	dc, bulk := sharedDataCenters(t)
	broken := serveEach(t, func(conn net.Conn) {
		server, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			return
		}
		defer server.Close()
		go copyOneWay(server, conn, func() { server.Close() })
		copyOneWay(conn, &flipper{server, 1 << 30, 1 << 16}, func() { server.Close() })
	})
	plan := smallPlan(dc, direct(broken))
	plan.Bulk = startBulk(t, bulk)
	run(t, dc.Serve)
	plan.Time, plan.Phases = time.Minute, []Phase{PhaseChatDownload}
	_, err := Run(testContext(t), plan)
	if err == nil || !strings.HasPrefix(err.Error(), "chat+download: through the proxy: ") || !strings.Contains(err.Error(), ErrCorrupt.Error()) {
		t.Error(err)
	}
}

// A process that ends is an error, and Run does not wait for it.
func TestEndOfTheBulkProcessEndsTheRun(t *testing.T) {
	dc := startDataCenter(t)
	plan := smallPlan(dc, direct(dc.Addr()))
	plan.Phases = []Phase{PhaseChatUpload}
	in, out := io.Pipe()
	in.Close()
	plan.Bulk = readWriter{strings.NewReader(""), out}
	if _, err := Run(testContext(t), plan); err == nil || !strings.Contains(err.Error(), "process of the downloads and uploads: ") {
		t.Error(err)
	}
}

// A gate that is shut accepts nothing until it is open again, and closes in between.
func TestShutGateAcceptsNothing(t *testing.T) {
	ctx := testContext(t)
	g := newGate(listen(t))
	accepted := make(chan error, 1)
	accept := func() {
		conn, err := g.Accept()
		if err == nil {
			conn.Close()
		}
		accepted <- err
	}
	go accept()
	if err := g.shut(); err != nil {
		t.Fatal(err)
	}
	if err := g.awaitShut(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	select {
	case err := <-accepted:
		t.Fatal("accepted:", err)
	default:
	}
	if err := g.open(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	g.shut()
	go accept()
	if err := g.awaitShut(ctx); err != nil {
		t.Fatal(err)
	}
	g.Close()
	if err := <-accepted; err != net.ErrClosed {
		t.Error(err)
	}
	if err := g.open(context.Background()); err == nil {
		t.Error("opened a closed gate")
	}
}
