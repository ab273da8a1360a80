package fronting

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/faketls"
)

// inBubble runs test with a pool, which runs, whose only host is a TLS server, and
// with the server's address.
func inBubble(t *testing.T, config *tls.Config, test func(t *testing.T, p *Pool, log *lockedBuffer, dial func() (net.Conn, error), visits *atomic.Int32)) {
	t.Helper()
	if config.Certificates == nil {
		config.Certificates = []tls.Certificate{rsaCertificate(t, 20)}
	}
	synctest.Test(t, func(t *testing.T) {
		var visits atomic.Int32
		p, log := inMemory(t, func(conn net.Conn) {
			visits.Add(1)
			serveTLS(conn, config)
		})
		background(t, p)
		dial := func() (net.Conn, error) { return p.config.DialContext(t.Context(), "tcp", "") }
		test(t, p, log, dial, &visits)
	})
}

// After a client's first hello, hellos of its kind are answered as by the host, for
// hosts of several configurations: the cipher suite, group and length differ from
// kind to kind.
func TestHellosOfEachKindAreAnsweredAsByTheHost(t *testing.T) {
	certificate := rsaCertificate(t, 20)
	for name, config := range map[string]*tls.Config{
		"default":                   {},
		"h2 and http/1.1":           {NextProtos: []string{"h2", "http/1.1"}},
		"only X25519":               {CurvePreferences: []tls.CurveID{tls.X25519}},
		"P-256 and X25519":          {CurvePreferences: []tls.CurveID{tls.CurveP256, tls.X25519}},
		"without tickets":           {SessionTicketsDisabled: true},
		"with client's certificate": {ClientAuth: tls.RequestClientCert},
	} {
		config.Certificates = []tls.Certificate{certificate}
		inBubble(t, config, func(t *testing.T, p *Pool, log *lockedBuffer, dial func() (net.Conn, error), _ *atomic.Int32) {
			time.Sleep(time.Minute)
			for _, hello := range clientHellos(t) {
				p.ServerHello(hello)
			}
			time.Sleep(time.Minute)
			for client, hello := range clientHellos(t) {
				expectLikeness(t, p, dial, name+", "+client, hello)
			}
			if t.Failed() {
				t.Log(log)
			}
		})
	}
}

// A kind that was not measured yet is answered as the nearest one: the same order of
// suites and key shares, rather than the browser's.
func TestNewKindIsAnsweredAsTheNearest(t *testing.T) {
	inBubble(t, &tls.Config{}, func(t *testing.T, p *Pool, _ *lockedBuffer, _ func() (net.Conn, error), _ *atomic.Int32) {
		hellos := clientHellos(t)
		time.Sleep(time.Minute)
		browsers := shapeFor(t, p, "a.example")
		if got, err := p.ServerHello(hellos["ChaCha20 first"]); err != nil || got != browsers {
			t.Errorf("%+v, %v, the browser's is %+v", got, err, browsers)
		}
		time.Sleep(time.Minute)
		want, err := p.ServerHello(hellos["ChaCha20 first"])
		if err != nil || want.CipherSuite != tls.TLS_CHACHA20_POLY1305_SHA256 {
			t.Fatalf("%+v, %v", want, err)
		}
		like := changed(t, hellos["ChaCha20 first"], "1303 1302 1301", map[uint16]string{0x1b: "02 0001"})
		if got, err := p.ServerHello(like); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	})
}

// A host that sends a HelloRetryRequest to some kinds of hellos only is unsuitable
// for these: the error names what to change, and the warning comes once a minute.
func TestKindsThatNeedARetryAreRefused(t *testing.T) {
	inBubble(t, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}, func(t *testing.T, p *Pool, log *lockedBuffer, dial func() (net.Conn, error), _ *atomic.Int32) {
		hellos := clientHellos(t)
		if _, err := p.ServerHello(hellos["tdlib-ee"]); err != nil {
			t.Errorf("refused before the host was measured: %v", err)
		}
		time.Sleep(2 * time.Minute)
		warnings := func() int { return strings.Count(log.String(), "level=WARN msg=\"FakeTLS clients are not served") }
		before := warnings()
		for range 10 {
			_, err := p.ServerHello(hellos["tdlib-ee"])
			if !errors.Is(err, errRetry) || !strings.Contains(err.Error(), "a.example") || !strings.Contains(err.Error(), "enable X25519") {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := warnings() - before; before != 1 || n != 1 {
			t.Errorf("%d warnings after the measurement, and then %d", before, n)
		}
		p.ServerHello(hellos["a share for P-256"])
		time.Sleep(time.Minute)
		if _, err := p.ServerHello(hellos["a share for P-256"]); err != nil {
			t.Error(err)
		}
		expectLikeness(t, p, dial, "a share for P-256", hellos["a share for P-256"])
	})
}

// A host that rejects some clients' hellos is warned of, once for each kind, and
// these are answered all the same. The rejections do not count as silence.
func TestHostThatRejectsAKindIsWarnedOf(t *testing.T) {
	certificate := rsaCertificate(t, 20)
	for name, reject := range map[string]func(*tls.ClientHelloInfo) (*tls.Certificate, error){
		"an alert": func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if info.ServerName == "" {
				return nil, errors.New("no name")
			}
			return &certificate, nil
		},
		"a close": func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if info.ServerName == "" {
				info.Conn.Close()
			}
			return &certificate, nil
		},
	} {
		config := &tls.Config{Certificates: []tls.Certificate{}, GetCertificate: reject}
		inBubble(t, config, func(t *testing.T, p *Pool, log *lockedBuffer, _ func() (net.Conn, error), _ *atomic.Int32) {
			hello := clientHellos(t)["without a name"]
			time.Sleep(time.Minute)
			for range 3 {
				if shape, err := p.ServerHello(hello); err != nil || shape != shapeFor(t, p, "a.example") {
					t.Errorf("%s: %+v, %v", name, shape, err)
				}
				time.Sleep(roundInterval)
			}
			want := map[string]int{"an alert": 1, "a close": 0}[name]
			if n := strings.Count(log.String(), "rejects the ClientHello of some FakeTLS clients"); n != want {
				t.Errorf("%s: %d warnings", name, n)
			}
			only(p).mu.Lock()
			defer only(p).mu.Unlock()
			if !only(p).failed.IsZero() {
				t.Errorf("%s: the host counts as silent", name)
			}
		})
	}
}

// numbered returns a hello of the n-th kind.
func numbered(t *testing.T, base *faketls.ClientHello, n int) *faketls.ClientHello {
	return changed(t, base, "1301 1302", map[uint16]string{0x10: fmt.Sprintf("0005 04 %08x", n)})
}

// A client with a secret that sends hellos of many kinds causes a bounded number of
// connections to the host, one after the other, and does not displace the kinds that
// other clients send.
func TestKindsAreBounded(t *testing.T) {
	inBubble(t, &tls.Config{}, func(t *testing.T, p *Pool, _ *lockedBuffer, dial func() (net.Conn, error), visits *atomic.Int32) {
		hellos := clientHellos(t)
		time.Sleep(time.Minute)
		p.ServerHello(hellos["tdlib-ee"])
		time.Sleep(time.Minute)
		visits.Store(0)
		for n := range 10 * maxKinds {
			if _, err := p.ServerHello(numbered(t, hellos["gotd-ee"], n)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Minute)
		if n := visits.Load(); n != maxKinds-1 {
			t.Errorf("%d connections for %d kinds", n, 10*maxKinds)
		}
		if n := len(only(p).kinds); n > maxKinds {
			t.Errorf("%d kinds", n)
		}

		// In the next round the quota is new. The kind in use stays.
		for range 5 {
			p.ServerHello(hellos["tdlib-ee"])
			time.Sleep(time.Hour)
		}
		for n := range maxKinds {
			p.ServerHello(numbered(t, hellos["gotd-ee"], 1000+n))
			p.ServerHello(hellos["tdlib-ee"])
			time.Sleep(time.Second)
		}
		if only(p).kinds[hellos["tdlib-ee"].Kind()] == nil || len(only(p).kinds) != maxKinds {
			t.Errorf("%d kinds, and not the one in use", len(only(p).kinds))
		}
		time.Sleep(10 * time.Minute)
		expectLikeness(t, p, dial, "tdlib", hellos["tdlib-ee"])
	})
}

// Each round measures every kind once more, as long as clients send it: a new
// certificate is followed. A week after the last client the kind is forgotten.
func TestKindsAreMeasuredAgain(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	other := rsaCertificate(t, 200)
	var renewed atomic.Bool
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if renewed.Load() {
			return &tls.Config{Certificates: []tls.Certificate{other}}, nil
		}
		return nil, nil
	}
	inBubble(t, config, func(t *testing.T, p *Pool, log *lockedBuffer, dial func() (net.Conn, error), visits *atomic.Int32) {
		// nextRound waits for a round, and until it has ended.
		nextRound := func() {
			rounds := func() int { return strings.Count(log.String(), `msg="fronting host measured" `) }
			for before := rounds(); rounds() == before; {
				time.Sleep(time.Minute)
			}
			time.Sleep(10 * time.Minute)
		}
		hello := clientHellos(t)["desktop-ee"]
		nextRound()
		p.ServerHello(hello)
		time.Sleep(time.Minute)
		expectLikeness(t, p, dial, "first", hello)
		renewed.Store(true)
		nextRound()
		expectLikeness(t, p, dial, "after a round", hello)

		visits.Store(0)
		nextRound()
		if n := visits.Load(); n != connectionsPerRound+1 {
			t.Errorf("%d connections in a round with one more kind", n)
		}
		time.Sleep(kindLifetime)
		nextRound()
		visits.Store(0)
		nextRound()
		if n := visits.Load(); n != connectionsPerRound || len(only(p).kinds) != 1 {
			t.Errorf("%d connections in a round, %d kinds, a week later", n, len(only(p).kinds))
		}
	})
}

// The last measurements of a kind are kept while they differ as much as signatures
// do. A measurement that differs more replaces them.
func TestMeasurementsOfAKindAreKeptWhileTheHostStays(t *testing.T) {
	measurement := func(size int, suite uint16) answer {
		return answer{shape: faketls.ServerHelloShape{DataSize: size, CipherSuite: suite}, tls13: true}
	}
	k := &kind{}
	for _, c := range []struct {
		add  answer
		want int
	}{
		{measurement(1000, 0x1301), 1},
		{measurement(1001, 0x1301), 2},
		{measurement(999, 0x1301), 3},
		{measurement(1000, 0x1301), probesPerRound},
		{measurement(1100, 0x1301), 1},
		{measurement(1100, 0x1302), 1},
		{answer{tls13: true, retry: true}, 1},
		{answer{tls13: true, retry: true}, 2},
	} {
		if k.add(c.add); len(k.answers) != c.want || k.answers[len(k.answers)-1] != c.add {
			t.Errorf("after %+v: %+v", c.add, k.answers)
		}
	}
	k.answers = []answer{{retry: true}, measurement(1, 1), {retry: true}}
	for range 100 {
		if k.draw().retry {
			t.Fatal("an answer with a HelloRetryRequest is drawn although there is one without")
		}
	}
}

// Without Run, and with a host that does not support TLS 1.3, hellos are answered
// and no kind is kept.
func TestKindsAreKeptOnlyIfTheyCanBeMeasured(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}})
	for range 2 {
		if shape, err := p.ServerHello(clientHellos(t)["tdlib-ee"]); err != nil || shape != (faketls.ServerHelloShape{}) || len(only(p).kinds) > 1 {
			t.Errorf("%+v, %v, %d kinds", shape, err, len(only(p).kinds))
		}
		only(p).setBrowser(faketls.Kind{}, []answer{{}}) // TLS 1.2
	}
	if _, err := p.round(canceled(t), only(p)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// An answer to a kind that was measured costs no allocation.
func TestServerHelloDoesNotAllocate(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}})
	measured(t, p, "a.example", faketls.ServerHelloShape{DataSize: 1}, faketls.ServerHelloShape{DataSize: 2})
	hello := browser(t, "a.example")
	if n := testing.AllocsPerRun(100, func() { p.ServerHello(hello) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
