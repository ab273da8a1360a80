package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/testconn"
	"github.com/mtwire/mtwire/obfuscation"
)

// A signal may come before Serve has begun: "Serve returns ErrStopped, also if
// it is called only afterwards", and closes its listeners.
func TestShutdownAheadOfServeStopsIt(t *testing.T) {
	p, err := New(Config{Users: []User{{Secret: secretOf(t, testconn.PlainSecret)}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Shutdown(short(t)); err != nil {
			t.Error(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(short(t), ln) }()
	select {
	case err := <-served:
		if !errors.Is(err, ErrStopped) {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it serves")
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("its listener is open")
	}
}

// "A proxy serves once", and goes on with that when it is asked to serve again.
func TestSecondServeDisturbsNothing(t *testing.T) {
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{DataCenters: map[obfuscation.DC][]string{0: {dc.String()}}})
	conn := join(t, address, "secret="+testconn.PaddedSecret)
	lot := p.relaying.Lot
	if err := p.Serve(context.Background()); err == nil || errors.Is(err, ErrStopped) {
		t.Errorf("the second one: %v", err)
	}
	if p.relaying.Lot != lot {
		t.Error("idle connections would wait where nobody wakes them")
	}
	echo(t, conn, 3)
}

// A host that is asked about every stranger answers as soon as it would on its
// own: where only FakeTLS is allowed, other bytes need not be waited for.
func TestShortGarbageIsFrontedAtOnceWhereOnlyFakeTLSIsAllowed(t *testing.T) {
	host, visits := fronting(t)
	p, address := startProxy(t, Config{
		Users:  []User{{Secret: secretOf(t, testconn.FakeTLSSecret)}},
		Fronts: map[string]string{"": host},
	})
	for _, sent := range []string{"h", "\x16\x04", "SSH-2.0-Go\r\n"} {
		began := time.Now()
		fronted(t, address, visits, []byte(sent))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q: after %v", sent, took)
		}
	}
	eventually(t, "three strangers are counted", func() bool { return p.Stats().Strangers == 3 })
}

// "Closes each that there is as soon as it has been silent": strangers too,
// whom their host would keep for a quarter of an hour.
func TestShutdownDoesNotWaitForStrangers(t *testing.T) {
	host, visits := fronting(t)
	p, address := startProxy(t, Config{
		Users:  []User{{Secret: secretOf(t, testconn.FakeTLSSecret)}},
		Fronts: map[string]string{"": host},
	})
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("hello"))
	for string(<-visits) != "hello" { // but a measurement's
	}
	if err := p.Shutdown(short(t)); err != nil {
		t.Errorf("it waited: %v", err)
	}
}
