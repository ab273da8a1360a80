package proxy

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A client that sends nothing, such as a health check, has a line at level Debug, and
// without the level none.
func TestConnectionsWithoutAByteHaveLevelDebug(t *testing.T) {
	inBubble(t, Config{}, nil, func(t *testing.T, b *bubble) {
		for range 5 {
			b.connect().Close()
			synctest.Wait()
		}
		b.connect()
		time.Sleep(time.Hour) // for its silence
		b.expectLines("health checks", "DEBUG", 6, "msg=closed stage=accepted")
		b.expectLines("health checks", "INFO", 0, "")
	})
}

// The lines of clients that come to nothing are limited for each cause: a flood of one
// kind does not hide another kind. The number of those left out is in the next line of
// that cause, or a minute later in a line of its own.
func TestFailingClientsDoNotFillTheLog(t *testing.T) {
	config := Config{DataCenters: map[datacenter.DC][]string{2: {"nowhere.test:443"}}}
	inBubble(t, config, nil, func(t *testing.T, b *bubble) {
		refused := func(dc mtwire.DC) {
			conn := b.joinOn(b.connect(), mtwiretest.PaddedSecret, dc)
			conn.Handshake(b.ctx)
			ended(t, conn)
			synctest.Wait()
		}
		garbage := func() {
			conn := b.connect()
			conn.Write(make([]byte, 500))
			conn.Close()
			synctest.Wait()
		}
		for range 900 {
			refused(2)
			garbage()
		}
		b.expectLines("a flood of each", "INFO", 2*closeBurst, "")
		refused(77)
		b.expectLines("another cause", "INFO", 2*closeBurst+1, "dc=77")
		time.Sleep(2 * closeInterval)
		garbage()
		left := fmt.Sprintf("unlogged_before=%d ", 900-closeBurst)
		b.expectLines("later", "INFO", 2*closeBurst+2, `stage="client bytes" `+left)
		time.Sleep(2 * time.Minute)
		b.expectLines("in the end", "INFO", 2*closeBurst+3, fmt.Sprintf(
			`msg="more connections were closed" stage=authenticated connections=%d cause="DC 2: nowhere.test:443 (direct): refused"`, 900-closeBurst))
		if n := len(b.Proxy.log.closes.causes); n != 0 {
			t.Errorf("%d causes are kept", n)
		}
	})
}

// The lines that are left out are counted when the proxy stops, too.
func TestLinesAreCountedAtTheEnd(t *testing.T) {
	log := &logBuffer{}
	var p *Proxy
	inBubble(t, Config{}, nil, func(t *testing.T, b *bubble) {
		log, p = b.log, b.Proxy
		for range closeBurst + 7 {
			conn := b.connect()
			conn.Write(make([]byte, 500))
			conn.Close()
			synctest.Wait()
		}
	})
	if line := log.last(); !strings.Contains(line, `stage="client bytes" connections=7 `) {
		t.Error(line)
	}
	if p.log.closes.timer != nil {
		t.Error("a timer is left")
	}
}

// Sessions that got an answer have a line each, and with DisableConnectionLog no
// connection has one.
func TestConnectionsHaveALineUnlessDisabled(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		config := Config{DataCenters: at("dc.test:443"), DisableConnectionLog: disabled}
		inBubble(t, config, map[string]func(net.Conn){"dc.test:443": echoing(1)}, func(t *testing.T, b *bubble) {
			for range 3 * closeBurst {
				conn := b.join(mtwiretest.PaddedSecret)
				echo(t, conn, 3)
				b.closeAll(errStopping)
			}
			b.connect().Close()
			synctest.Wait()
			want := 3*closeBurst + 1
			if disabled {
				want = 0
			}
			if n := len(b.log.lines("closed")); n != want {
				t.Errorf("%d lines, want %d", n, want)
			}
		})
	}
}

// Causes that differ in numbers alone are one cause, and their number is bounded.
func TestCausesAreBounded(t *testing.T) {
	l := lineLimiter{burst: 1, interval: time.Hour, rest: func(lineCause, int) {}}
	defer l.flush()
	if _, ok := l.allow(lineCause{ClientBytes, "read 10.0.0.1:4711: reset"}); !ok {
		t.Error("the first line is left out")
	}
	if _, ok := l.allow(lineCause{ClientBytes, "read 10.0.0.2:4712: reset"}); ok {
		t.Error("another port is another cause")
	}
	for i := range 1000 {
		l.allow(lineCause{ClientBytes, strings.Repeat("x", i)})
	}
	if n := len(l.causes); n > maxCauses+1 {
		t.Errorf("%d causes", n)
	}
}
