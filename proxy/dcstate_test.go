package proxy

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// moody returns a data centre that answers packets with themselves while answers is
// true, and reads them all.
func moody(answers *atomic.Bool) func(net.Conn) {
	return func(conn net.Conn) {
		server := mtwire.Server(conn, nil)
		for {
			p, err := server.Receive(context.Background())
			if err != nil {
				return
			}
			if answers.Load() && server.Send(context.Background(), p.Payload) != nil {
				return
			}
		}
	}
}

// send sends a packet, whose answer is read if there is one.
func (b *bubble) send(conn *mtwire.Conn) {
	b.t.Helper()
	if err := conn.Send(b.ctx, payload(3)); err != nil {
		b.t.Fatal(err)
	}
	go conn.Receive(b.ctx)
}

// expectLines checks that the log has this many lines of a level, the last with what.
func (b *bubble) expectLines(when, level string, n int, what string) {
	b.t.Helper()
	synctest.Wait()
	lines := slices.DeleteFunc(b.log.lines("level="+level), func(line string) bool { return strings.Contains(line, "first connection") })
	if len(lines) != n || n > 0 && !strings.Contains(lines[n-1], what) {
		b.t.Errorf("%s: %d lines of level %s, want %d, the last with %q:\n%s", when, len(lines), level, n, what, strings.Join(lines, "\n"))
	}
}

// A data centre that falls silent has one warning, also with hundreds of clients, and
// one line when it answers again: for clients that had answers before, and for new
// ones.
func TestSilentDataCenterHasOneWarning(t *testing.T) {
	for name, before := range map[string]bool{"clients that had answers": true, "new clients": false} {
		var answers atomic.Bool
		config := Config{DataCenters: at("dc.test:443"), DisableConnectionLog: true}
		inBubble(t, config, map[string]func(net.Conn){"dc.test:443": moody(&answers)}, func(t *testing.T, b *bubble) {
			answers.Store(before)
			var clients []*mtwire.Conn
			for range 200 {
				conn := b.join(mtwiretest.PaddedSecret)
				if before {
					echo(t, conn, 3)
				}
				clients = append(clients, conn)
			}
			time.Sleep(time.Minute)
			answers.Store(false)
			for _, conn := range clients {
				b.send(conn)
			}
			time.Sleep(20 * time.Second)
			b.expectLines(name, "WARN", 1, `msg="data centre does not answer" dc=4 state=silent`)
			b.expectLines(name, "INFO", 0, "")
			if n := b.Stats().Stalls; n != 200 {
				t.Errorf("%d stalls", n)
			}
			time.Sleep(time.Hour)
			answers.Store(true)
			for _, conn := range clients {
				b.send(conn)
			}
			b.expectLines(name, "WARN", 1, "")
			b.expectLines(name, "INFO", 1, `msg="data centre answers again" dc=4 state=answering after=1h0m5s failed_sessions=200`)
		})
	}
}

// A few clients that send acknowledgements, which are not answered, are no reason for
// a warning.
func TestUnansweredAcknowledgementsDoNotMakeADataCenterSilent(t *testing.T) {
	config := Config{DataCenters: at("dc.test:443")}
	inBubble(t, config, map[string]func(net.Conn){"dc.test:443": echoing(1)}, func(t *testing.T, b *bubble) {
		for range minPaused - 1 {
			conn := b.join(mtwiretest.PaddedSecret)
			echo(t, conn, 3)
			b.send(conn)
		}
		time.Sleep(time.Hour)
		b.expectLines("a pause", "WARN", 0, "")
	})
}

// A data centre that cannot be reached has one warning with the cause. Bytes on older
// connections do not end that state, those of a new one do.
func TestUnreachableDataCenterHasOneWarning(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1000)}
	config := Config{DataCenters: at("dc.test:443"), DisableConnectionLog: true}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		old := b.join(mtwiretest.PaddedSecret)
		echo(t, old, 3)
		time.Sleep(time.Second)
		host := hosts["dc.test:443"]
		delete(hosts, "dc.test:443")
		for range 200 {
			conn := b.join(mtwiretest.PaddedSecret)
			conn.Handshake(b.ctx)
			ended(t, conn)
		}
		b.expectLines("unreachable", "WARN", 1, `msg="data centre cannot be reached" dc=4 state=unreachable cause="`+datacenter.DC(4).Describe()+`: dc.test:443 (direct): refused"`)
		time.Sleep(10 * time.Minute)
		echo(t, old, 3)
		b.expectLines("bytes on an older connection", "INFO", 0, "")
		hosts["dc.test:443"] = host
		echo(t, b.join(mtwiretest.PaddedSecret), 3)
		b.expectLines("reachable", "WARN", 1, "")
		b.expectLines("reachable", "INFO", 1, `msg="data centre answers again" dc=4 state=answering after=10m0s failed_sessions=200`)
	})
}

// A data centre that fails every other time has a warning once a minute.
func TestUnstableDataCenterDoesNotFillTheLog(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1000)}
	config := Config{DataCenters: at("dc.test:443"), DisableConnectionLog: true}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		host := hosts["dc.test:443"]
		for range 100 {
			delete(hosts, "dc.test:443")
			conn := b.join(mtwiretest.PaddedSecret)
			conn.Handshake(b.ctx)
			ended(t, conn)
			synctest.Wait()
			hosts["dc.test:443"] = host
			conn = b.join(mtwiretest.PaddedSecret)
			echo(t, conn, 3)
			time.Sleep(time.Second)
		}
		b.expectLines("100 seconds", "WARN", 2, "state=unreachable")
		b.expectLines("100 seconds", "INFO", 2, "state=answering")
	})
}

// A client's unknown data centre, and a shortage of this machine, say nothing about a
// data centre. The shortage has a warning of its own.
func TestOtherFailuresBlameNoDataCenter(t *testing.T) {
	inBubble(t, Config{DisableConnectionLog: true}, nil, func(t *testing.T, b *bubble) {
		for dc := mtwire.DC(77); dc < 177; dc++ {
			conn := b.joinOn(b.connect(), mtwiretest.PaddedSecret, dc)
			conn.Handshake(b.ctx)
			ended(t, conn)
		}
		b.expectLines("unknown", "WARN", 0, "")
		s := &session{proxy: b.Proxy, start: time.Now()}
		for range 10 {
			for _, err := range []error{syscall.EMFILE, syscall.ENOBUFS, syscall.EADDRNOTAVAIL} {
				err = &net.OpError{Op: "dial", Err: err}
				if b.dataCenters.unreachable(2, err) {
					t.Errorf("%v is blamed on the data centre", err)
				}
				b.trace.unreachable(s, err)
			}
		}
		b.expectLines("shortage", "WARN", 1, "this machine has no resources")
		time.Sleep(warnInterval)
		b.trace.unreachable(s, syscall.EMFILE)
		b.expectLines("a minute later", "WARN", 2, `cause="too many open files" unlogged_before=29`)
		if n := len(b.dataCenters.states); n != 0 {
			t.Errorf("%d states are kept", n)
		}
	})
}

// A silent address of a data centre that answers at another one has a warning a
// minute, with the number of stalls without one.
func TestSilentAddressHasAWarning(t *testing.T) {
	first := true
	hosts := map[string]func(net.Conn){"dc.test:443": func(conn net.Conn) {
		if first { // the others are silent
			first = false
			echoing(1000)(conn)
			return
		}
		io.Copy(io.Discard, conn)
	}}
	config := Config{DataCenters: at("dc.test:443"), DisableConnectionLog: true}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		good := b.join(mtwiretest.PaddedSecret)
		echo(t, good, 3)
		for range 50 {
			b.send(b.join(mtwiretest.PaddedSecret))
		}
		time.Sleep(time.Second)
		echo(t, good, 3)
		time.Sleep(20 * time.Second)
		b.expectLines("stalls", "WARN", 1, `msg="stalled: bytes were sent to the data centre and none came back" dc=4 address=dc.test:443 via=direct stage="first byte up" waited=15s`)
		time.Sleep(2 * time.Minute)
		b.expectLines("the rest", "WARN", 2, `msg="more connections have stalled" address=dc.test:443 connections=49`)
	})
}

// A data centre whose addresses all end a client's connections before the first byte is
// silent, with one warning, until the next answer. If others have answers meanwhile, the
// client is at fault.
func TestDataCenterIsSilentWhenNoAddressAnswers(t *testing.T) {
	for name, bad := range unanswering {
		if name == "is silent" {
			continue // the stall timer notices it
		}
		t.Run(name, func(t *testing.T) {
			hosts := map[string]func(net.Conn){"one:1": bad, "two:1": bad}
			config := Config{DataCenters: map[datacenter.DC][]string{0: {"one:1", "two:1"}}, DisableConnectionLog: true}
			inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
				fail := func() {
					conn := b.join(mtwiretest.PaddedSecret)
					conn.Send(b.ctx, payload(3))
					ended(t, conn)
					synctest.Wait()
				}
				const warning = `msg="data centre does not answer" dc=4 state=silent`
				time.Sleep(time.Second)
				for i := range 5 {
					fail()
					if all := b.DataCenters(); len(all) != 1 || all[0].State != Silent || all[0].Sessions != i+1 {
						t.Fatalf("%+v", all)
					}
				}
				b.expectLines("no address answers", "WARN", 2, warning) // the first is of the address
				hosts["two:1"] = echoing(1000)
				time.Sleep(time.Second)
				good := b.join(mtwiretest.PaddedSecret)
				echo(t, good, 3)
				b.expectLines("an answer", "INFO", 1, `msg="data centre answers again" dc=4 state=answering`)
				if all := b.DataCenters(); all[0].State != Answering {
					t.Errorf("after an answer: %+v", all)
				}
				hosts["two:1"] = bad
				conn := b.join(mtwiretest.PaddedSecret)
				conn.Handshake(b.ctx)
				echo(t, good, 3)
				conn.Send(b.ctx, payload(3))
				ended(t, conn)
				synctest.Wait()
				if all := b.DataCenters(); all[0].State != Answering {
					t.Errorf("beside a client that has answers: %+v", all)
				}
			})
		})
	}
}

// The number of states is bounded: if all numbers have an address, clients choose it. They
// do not leave a main data centre without a state of its own.
func TestStatesAreBounded(t *testing.T) {
	d := newDataCenters(func(DataCenterChange) {})
	for dc := range datacenter.DC(1000) {
		d.of(dc + 10)
	}
	for dc := -mainDataCenters; dc <= mainDataCenters; dc++ {
		if state := d.of(datacenter.DC(dc)); state.change.DC != datacenter.DC(dc) {
			t.Errorf("DC %d has the state of %d", dc, state.change.DC)
		}
	}
	if n := len(d.states); n > maxStates+1+2*mainDataCenters {
		t.Errorf("%d states", n)
	}
}
