package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// patientHost is a fronting host that answers a whole hello, and closes nothing.
func patientHost(t *testing.T) (address string) {
	t.Helper()
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return startHost(t, func(conn net.Conn) {
		tls.Server(conn, config).Handshake()
		io.Copy(io.Discard, conn)
	})
}

// While an address holds as many connections as it may, whatever they have sent, all
// visitors of the site and all clients that come from the same address are served.
func TestVisitorsAndClientsBesideAnAttackerAreServed(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	visitorHello := func() []byte { return helloOf(t, keyOf(1), secret.Domain) }
	for _, attack := range []struct {
		name string
		sent func() []byte
	}{
		{"silent", func() []byte { return nil }},
		{"one byte", func() []byte { return []byte{0x16} }},
		{"half a hello", func() []byte { return visitorHello()[:200] }},
		{"visitors", visitorHello},
		{"answered hellos", func() []byte { return helloOf(t, secret.Key, secret.Domain) }},
	} {
		t.Run(attack.name, func(t *testing.T) {
			// A newcomer is safe for two seconds, in which it is served if nothing is held up.
			if err := loopback.Undisturbed(500*time.Millisecond, func() error {
				return besideAnAttacker(t, secret, visitorHello, attack.sent)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func besideAnAttacker(t *testing.T, secret mtwire.Secret, visitorHello, attack func() []byte) error {
	var mu sync.Mutex
	var errs []error
	failed := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, fmt.Errorf(format, args...))
	}
	const held, newcomers = 120, 40
	var causes sync.Map // what ended sessions, by the client's address
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{
		Users:              onlyUser(t, mtwiretest.FakeTLSSecret),
		DataCenters:        allAt(dc),
		Fronts:             map[string]Front{"": {Address: patientHost(t)}},
		MaxUnauthenticated: 100, MaxFronted: 50, // one address has half
		Traces: []*Trace{{Closed: func(_ Session, r Report) { causes.Store(r.Client, r.Err) }}},
	})
	connect := func(sent []byte) net.Conn {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.Write(sent)
		return conn
	}
	for range held {
		connect(attack())
	}
	eventually(t, "the attacker is accepted", func() bool { return p.Stats().Accepted == held })
	var served sync.WaitGroup
	arrivals := time.NewTicker(20 * time.Millisecond)
	defer arrivals.Stop()
	for range newcomers {
		<-arrivals.C
		conn := connect(visitorHello())
		served.Go(func() {
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
				cause, _ := causes.Load(conn.LocalAddr().String())
				failed("a visitor is not answered: %w; its session: %v", err, cause)
			}
			conn.Close()
		})
		served.Go(func() {
			conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?dc=2&secret="+mtwiretest.FakeTLSSecret, nil)
			if err == nil {
				defer conn.Close()
				err = conn.Send(short(t), payload(3))
			}
			if err == nil {
				_, err = conn.Receive(short(t))
			}
			if err != nil {
				failed("a client is not served: %w", err)
			}
		})
	}
	served.Wait()
	if n := p.Stats().Evicted; n < held-50 {
		failed("only %d connections were evicted: the limit is not reached", n)
	}
	return errors.Join(errs...)
}
