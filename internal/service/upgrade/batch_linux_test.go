package upgrade

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// proxyWithSessions returns a proxy with sessions to an echo.
func proxyWithSessions(t *testing.T, sessions int) *proxy.Proxy {
	dc, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	go dc.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) == nil {
			mtwiretest.Echo(ctx, conn)
		}
	})
	t.Cleanup(func() { dc.Close() })
	secret, err := mtproxy.ParseSecret(mtwiretest.PlainSecret)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Name: "alice", Secrets: []mtproxy.Secret{secret}}},
		DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go p.Serve(ctx, ln)
	t.Cleanup(p.Close)
	for range sessions {
		conn, err := mtwire.Dial(ctx, "tcp://"+ln.Addr().String()+"?secret="+mtwiretest.PlainSecret, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.Send(ctx, make([]byte, 104)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// A batch has at most usualBatch sessions, because all of them wait until it has moved. It is
// made in the memory of the one before.
func TestFewSessionsAreSuspendedAtATime(t *testing.T) {
	const sessions = 3*usualBatch + 1
	p := proxyWithSessions(t, sessions)
	own, file, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	other, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var batches []int
	ended := make(chan struct{})
	go func() { // holds and drops all sessions
		defer close(ended)
		buf := make([]byte, maxMessage)
		for {
			message, fds, err := receive(other.(*net.UnixConn), buf, 2*maxBatch)
			if err != nil {
				return
			}
			closeFDs(fds)
			if kind(message[0]) == sessionsMessage {
				batch, n := binary.BigEndian.Uint32(message[1:]), int(message[5])
				batches = append(batches, n)
				send(other.(*net.UnixConn), appendAnswers(nil, batch, slices.Repeat([]byte{isHeld}, n)), nil)
			}
		}
	}()
	h := &Handover{conn: own, most: usualBatch}
	moved := 0
	var first *proxy.Suspended
	for end := time.Now().Add(20 * time.Second); moved < sessions && time.Now().Before(end); {
		n, _, _, err := h.Move(p)
		if err != nil {
			t.Fatal(err)
		}
		if moved += n; n == usualBatch {
			if first == nil {
				first = h.next.sessions[0]
			} else if !slices.Contains(h.next.sessions, first) {
				t.Error("a batch has other memory than the one before")
			}
		}
	}
	own.Close()
	<-ended
	if moved != sessions || slices.Max(batches) > usualBatch {
		t.Errorf("%d of %d sessions have moved, in batches of %v", moved, sessions, batches)
	}
}

// A process that was stopped while it waited, as with its whole container, takes the answer that has
// come meanwhile, and does not end the new process for being late.
func TestTimeIsNotOverForAProcessThatWasStopped(t *testing.T) {
	own, other, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	defer other.Close()
	if _, err := other.Write([]byte{byte(servingMessage)}); err != nil {
		t.Fatal(err)
	}
	late := func(allowed time.Duration) *Handover {
		h := &Handover{conn: own, allowed: allowed, until: time.Now().Add(-stopTime)}
		own.SetDeadline(h.until)
		return h
	}
	if message, err := late(time.Minute).expect(servingMessage); err != nil || len(message) != 1 {
		t.Error(message, err)
	}
	if _, err := late(0).expect(servingMessage); err == nil || !strings.Contains(err.Error(), "does not answer in time") {
		t.Errorf("without an answer: %v", err)
	}
	h := late(time.Minute)
	h.interrupted.Store(true)
	if _, err := h.expect(servingMessage); err == nil {
		t.Error("an upgrade that is to end goes on")
	}
}
