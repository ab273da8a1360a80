package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
)

// unanswering are data centres that accept connections and answer nothing.
var unanswering = map[string]func(net.Conn){
	"closes at once":       func(net.Conn) {},
	"closes when asked":    func(conn net.Conn) { conn.Read(make([]byte, 1000)) },
	"closes in a packet":   func(conn net.Conn) { io.ReadFull(conn, make([]byte, 80)) },
	"closes after a while": func(conn net.Conn) { time.AfterFunc(2*time.Second, func() { conn.Close() }); io.Copy(io.Discard, conn) },
	"is silent":            func(conn net.Conn) { io.Copy(io.Discard, conn) },
}

// queueing is a data centre that echoes packets and takes more meanwhile, as one
// behind the buffers of sockets does.
func queueing(conn net.Conn) {
	server, queue := mtwire.Server(conn, nil), make(chan []byte, 100)
	go func() {
		defer close(queue)
		for {
			p, err := server.Receive(context.Background())
			if err != nil {
				return
			}
			queue <- bytes.Clone(p.Payload)
		}
	}()
	for payload := range queue {
		server.Send(context.Background(), payload)
	}
}

// inFailoverModes runs test for each data centre of unanswering beside one that
// echoes, and for clients in each mode.
func inFailoverModes(t *testing.T, test func(t *testing.T, b *bubble, secret string)) {
	for name, bad := range unanswering {
		for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
			for _, slow := range []bool{false, true} { // without fast mode
				hosts := map[string]func(net.Conn){"bad:1": bad, "good:1": queueing}
				config := Config{DataCenters: map[datacenter.DC][]string{0: {"bad:1", "good:1"}}, DisableFastMode: slow}
				t.Run(fmt.Sprint(name, " ", secret[:2], " ", slow), func(t *testing.T) {
					inBubble(t, config, hosts, func(t *testing.T, b *bubble) { test(t, b, secret) })
				})
			}
		}
	}
}

// A client whose data centre's connection ends, or is silent, before the first byte
// is moved on to the next address with all that it has sent. It notices nothing but
// the time; and the clients after it are not connected to that address at all.
func TestClientIsMovedOnUnnoticed(t *testing.T) {
	inFailoverModes(t, func(t *testing.T, b *bubble, secret string) {
		start := time.Now()
		conn := b.join(secret)
		var sent [][]byte
		for range 3 { // before any answer
			sent = append(sent, payload(30))
			if err := conn.Send(b.ctx, sent[len(sent)-1]); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range sent {
			if p, err := conn.Receive(b.ctx); err != nil || !bytes.Equal(p.Payload, want) {
				t.Fatalf("%d bytes, %v", len(p.Payload), err)
			}
		}
		if took := time.Since(start); took > answerLimit {
			t.Errorf("it took %v", took)
		}
		echo(t, conn, 5000)
		if n := b.Stats().Moved; n != 1 {
			t.Errorf("%d clients were moved on", n)
		}
		synctest.Wait() // until all bytes are counted
		for s := range b.Sessions() {
			if r := s.Report(); r.Address != "good:1" || r.Stage != FirstByteDown || r.Up < 81552 || r.Up > 81552+4*15 {
				t.Errorf("%+v", r)
			}
		}
		start = time.Now()
		for range 5 {
			echo(t, b.join(secret), 3)
		}
		if n := b.Stats().Moved; n != 1 || time.Since(start) != 0 {
			t.Errorf("%d clients were moved on, later ones after %v", n, time.Since(start))
		}
		if kept := b.kept.Load(); kept != 0 {
			t.Errorf("%d bytes are kept after the answers", kept)
		}
	})
}

// A client that has sent its handshake only is moved on when the connection ends
// soon, and the end of one that is older is passed on to it.
func TestIdleClientIsMovedOnIfTheConnectionEndsSoon(t *testing.T) {
	for after, moved := range map[time.Duration]bool{0: true, earlyEnd - time.Second: true, earlyEnd: false, time.Hour: false} {
		hosts := map[string]func(net.Conn){"good:1": echoing(1), "bad:1": func(conn net.Conn) {
			time.AfterFunc(after, func() { conn.Close() })
			io.Copy(io.Discard, conn)
		}}
		config := Config{DataCenters: map[datacenter.DC][]string{0: {"bad:1", "good:1"}}}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PaddedSecret)
			if err := conn.Handshake(b.ctx); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
			if !moved {
				if b.Stats().Moved != 0 || b.Stats().Open != 0 {
					t.Errorf("after %v: %+v", after, b.Stats())
				}
				return
			}
			echo(t, conn, 3)
			if b.Stats().Moved != 1 {
				t.Errorf("after %v: %+v", after, b.Stats())
			}
		})
	}
}

// A data centre that is slower than the limit is not given up before the next one
// is connected: an answer that comes meanwhile is delivered, and the client stays.
func TestLateAnswerIsDelivered(t *testing.T) {
	late := func(conn net.Conn) {
		server := mtwire.Server(conn, nil)
		p, err := server.Receive(context.Background())
		time.Sleep(answerLimit + time.Second)
		if err == nil {
			server.Send(context.Background(), p.Payload)
		}
		io.Copy(io.Discard, conn)
	}
	for _, addresses := range [][]string{{"late:1", "slow:1"}, {"late:1", "refuses:1"}, {"late:1"}} {
		hosts := map[string]func(net.Conn){"late:1": late, "slow:1": nil}
		config := Config{DataCenters: map[datacenter.DC][]string{0: addresses}, DialTimeout: time.Hour}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			echo(t, b.join(mtwiretest.FakeTLSSecret), 3)
			if b.Stats().Moved != 0 || b.kept.Load() != 0 {
				t.Errorf("%v: %+v", addresses, b.Stats())
			}
		})
	}
}

// A client that is at fault itself is not moved on for ever, and blames no data
// centre: no more than maxMoves others get its bytes. Its end is reported once.
func TestFaultyClientIsMovedOnAFewTimes(t *testing.T) {
	var visits atomic.Int64
	picky := func(conn net.Conn) {
		server := mtwire.Server(conn, nil)
		p, err := server.Receive(context.Background())
		if visits.Add(1); err == nil && p.Payload[0] != 0xff {
			server.Send(context.Background(), p.Payload)
			io.Copy(io.Discard, conn)
		}
	}
	hosts := map[string]func(net.Conn){}
	var addresses []string
	for i := range 6 {
		addresses = append(addresses, fmt.Sprint("dc", i, ":1"))
		hosts[addresses[i]] = picky
	}
	ends := &reports{}
	config := Config{DataCenters: map[datacenter.DC][]string{0: addresses}, Traces: []*Trace{ends.trace()}}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		conn := b.join(mtwiretest.PaddedSecret)
		bad := payload(3)
		bad[0] = 0xff
		conn.Send(b.ctx, bad)
		ended(t, conn)
		synctest.Wait()
		if n := visits.Load(); n != 1+maxMoves {
			t.Errorf("%d data centres got the packet", n)
		}
		if all := ends.wait(t, 1); len(all) != 1 || !errors.Is(all[0].Err, errEndedUnanswered) || all[0].Stage != FirstByteUp {
			t.Errorf("%+v", all)
		}
		visits.Store(0)
		good := payload(3)
		good[0] = 0
		conn = b.join(mtwiretest.PaddedSecret)
		conn.Send(b.ctx, good)
		if p, err := conn.Receive(b.ctx); err != nil || !bytes.Equal(p.Payload, good) || visits.Load() != 1 {
			t.Errorf("afterwards: %v, %d visits", err, visits.Load())
		}
		for s := range b.Sessions() {
			if r := s.Report(); r.Address != addresses[0] {
				t.Errorf("a client's fault is blamed on %s", addresses[0])
			}
		}
	})
}

// What is kept has a limit for each session and one in total. A client above it is
// not moved on; its connection ends, and later clients avoid the address.
func TestKeptBytesAreBounded(t *testing.T) {
	closing := func(conn net.Conn) { io.CopyN(io.Discard, conn, maxKept+1000) }
	hosts := map[string]func(net.Conn){"bad:1": closing, "good:1": echoing(1000)}
	for _, full := range []bool{false, true} {
		config := Config{DataCenters: map[datacenter.DC][]string{0: {"bad:1", "good:1"}}}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			size := maxKept / 16
			if full { // of other sessions
				b.kept.Store(maxKeptTotal - 1000)
				size = 100
			}
			conn := b.join(mtwiretest.PaddedSecret)
			var sending sync.WaitGroup
			sending.Go(func() {
				for range 60 {
					conn.Send(b.ctx, payload(size))
				}
			})
			ended(t, conn)
			conn.Close()
			sending.Wait()
			synctest.Wait()
			if b.Stats().Moved != 0 || b.Stats().Open != 0 {
				t.Errorf("%+v", b.Stats())
			}
			if full {
				b.kept.Add(1000 - maxKeptTotal)
			}
			if n := b.kept.Load(); n != 0 {
				t.Errorf("%d bytes are kept without a session", n)
			}
			echo(t, b.join(mtwiretest.PaddedSecret), 3)
			if b.Stats().Moved != 0 {
				t.Error("the next client was connected to the address")
			}
		})
	}
}

// A session that ends, for any reason, while its client is moved on leaves nothing
// behind, and no address is blamed for an end that the client or the proxy causes.
func TestSessionMayEndWhileItsClientIsMovedOn(t *testing.T) {
	hosts := map[string]func(net.Conn){"bad:1": unanswering["is silent"], "slow:1": nil, "closing:1": func(net.Conn) {}}
	for _, first := range []string{"bad:1", "closing:1"} {
		for _, close := range []func(b *bubble, conn *mtwire.Conn){
			func(b *bubble, conn *mtwire.Conn) { conn.Close() },
			func(b *bubble, conn *mtwire.Conn) { b.closeAll(errStopping) },
			func(b *bubble, conn *mtwire.Conn) { b.Close() },
		} {
			ends := &reports{}
			config := Config{
				DataCenters: map[datacenter.DC][]string{0: {first, "slow:1"}}, DialTimeout: 30 * time.Second,
				Traces: []*Trace{ends.trace()},
			}
			inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
				conn := b.join(mtwiretest.PaddedSecret)
				if err := conn.Send(b.ctx, payload(3)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(answerLimit + time.Second) // slow:1 is being dialled
				if n := b.Stats().Open; n != 1 {
					t.Errorf("%d sessions are open", n)
				}
				close(b, conn)
				time.Sleep(2 * time.Minute) // the linger after the end of the client
				if b.Stats().Open != 0 || b.kept.Load() != 0 || len(ends.wait(t, 1)) != 1 {
					t.Errorf("%+v, %d bytes kept", b.Stats(), b.kept.Load())
				}
			})
		}
	}
}

// The warning names the data centre, the address, the upstream and the cause, once
// a minute.
func TestUnansweredConnectionsAreLogged(t *testing.T) {
	hosts := map[string]func(net.Conn){"bad:1": unanswering["is silent"], "good:1": echoing(1)}
	config := Config{DataCenters: map[datacenter.DC][]string{0: {"bad:1", "good:1"}}}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		for range 4 {
			echo(t, b.join(mtwiretest.PaddedSecret), 3)
			time.Sleep(10 * time.Second) // the back-off
		}
		lines := b.log.lines("level=WARN")
		want := `level=WARN msg="clients are moved on to another address or upstream" dc=4 address=bad:1 via=direct cause="the data centre does not answer"`
		if len(lines) != 1 || lines[0] != want {
			t.Errorf("%s\nwant %s", strings.Join(lines, "\n"), want)
		}
	})
}

// The first bytes of an upstream with other keys are no packets: an error ends the
// direction before they reach the client. Quick acknowledgements count as packets
// if the client has requested one.
func TestAnswersWithOtherKeysAreRejected(t *testing.T) {
	packet := func(protocol mtwire.Protocol, p mtwire.Packet, side frame.Side) []byte {
		b, err := (&frame.Encoder{Protocol: protocol, From: side}).Append(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const padded = mtwire.PaddedIntermediate
	answer := packet(padded, mtwire.Packet{Payload: payload(3)}, frame.Server)
	failure := packet(padded, mtwire.Packet{Kind: frame.KindTransportError, Code: 404}, frame.Server)
	ack := packet(padded, mtwire.Packet{Kind: frame.KindQuickAck, Token: 1 << 31}, frame.Server)
	for name, c := range map[string]struct {
		clear     []byte
		ackWanted bool
		good      bool
	}{
		"a packet":            {answer, false, true},
		"a part of one":       {answer[:3], false, true},
		"one and a half":      {slices.Concat(answer, answer[:20]), false, true},
		"a transport error":   {failure, false, true},
		"an acknowledgement":  {slices.Concat(ack, answer), true, true},
		"an unrequested one":  {slices.Concat(ack, answer), false, false},
		"a page":              {[]byte("HTTP/1.1 400 Bad Request\r\n"), false, false},
		"an alert":            {[]byte("\x15\x03\x03\x00\x02\x02\x46"), false, true}, // 0x000303_15 bytes
		"bytes behind packet": {append(bytes.Clone(answer), "\xff\xff\xff\x7f...."...), false, false},
	} {
		s := &session{proxy: &Proxy{}, protocol: padded}
		tr := &trial{session: s}
		s.trial.Store(tr)
		tr.keep(packet(padded, mtwire.Packet{Payload: payload(3), AckWanted: c.ackWanted}, frame.Client))
		if _, err := s.checkAnswer(c.clear); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
