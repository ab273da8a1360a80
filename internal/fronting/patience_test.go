package fronting

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// impatient is a TLS host that closes connections on which no handshake is completed
// within limit.
func impatient(config *tls.Config, limit time.Duration) func(net.Conn) {
	return func(conn net.Conn) {
		timer := time.AfterFunc(limit, func() { conn.Close() })
		defer timer.Stop()
		server := tls.Server(conn, config)
		if server.Handshake() == nil {
			timer.Stop()
		}
		io.Copy(io.Discard, server)
	}
}

// A host's patience is the time from its flight to the end of the connection: at
// least what a slow client needs, and at most five minutes.
func TestPatienceIsTheHosts(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	for limit, want := range map[time.Duration]time.Duration{
		15 * time.Second: 15 * time.Second,
		time.Minute:      time.Minute,
		4 * time.Minute:  4 * time.Minute,
		6 * time.Minute:  MaxPatience,
		time.Second:      minPatience,
	} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := inMemory(t, impatient(config, limit))
			if got := p.Patience("a.example"); got != DefaultPatience {
				t.Errorf("%v before a measurement", got)
			}
			if err := p.measurePatience(t.Context(), only(p)); err != nil || p.Patience("a.example") != want || p.Patience("unknown.example") != want {
				t.Errorf("%v: %v, %v", limit, p.Patience("a.example"), err)
			}
		})
	}
}

// A connection that ends before the host's flight, or that the context ends, is no
// measurement.
func TestPatienceNeedsAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := inMemory(t, func(conn net.Conn) { conn.Read(make([]byte, 4096)) })
		if err := p.measurePatience(t.Context(), only(p)); err == nil || p.Patience("a.example") != DefaultPatience {
			t.Errorf("%v, %v", p.Patience("a.example"), err)
		}
		silent, _ := inMemory(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		begin := time.Now()
		if err := silent.measurePatience(t.Context(), only(silent)); err == nil || time.Since(begin) != probeTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if err := silent.measurePatience(canceled(t), only(silent)); !errors.Is(err, t.Context().Err()) && err == nil {
			t.Error("no error of a context that has ended")
		}
		if silent.Patience("a.example") != DefaultPatience {
			t.Errorf("%v", silent.Patience("a.example"))
		}
	})
}

// The wait for a patient host delays no other measurement, and ends with Run.
func TestPatienceIsMeasuredBesideTheRest(t *testing.T) {
	inBubble(t, &tls.Config{}, func(t *testing.T, p *Pool, log *lockedBuffer, dial func() (net.Conn, error), visits *atomic.Int32) {
		hello := clientHellos(t)["desktop-ee"]
		time.Sleep(time.Minute)
		if visits.Load() != connectionsPerRound || !strings.Contains(log.String(), "measured in detail") {
			t.Errorf("%d connections in a minute", visits.Load())
		}
		p.ServerHello(hello)
		time.Sleep(time.Minute)
		expectLikeness(t, p, dial, "a new kind", hello)
		if got := p.Patience("a.example"); got != DefaultPatience {
			t.Errorf("%v after two minutes", got)
		}
		time.Sleep(5 * time.Minute)
		if got := p.Patience("a.example"); got != MaxPatience {
			t.Errorf("%v after seven minutes", got)
		}
	})
}
