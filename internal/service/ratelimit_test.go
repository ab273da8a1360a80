package service

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// An address may open as many unauthenticated connections as the rate allows, after a
// burst of ten seconds' worth; an IPv6 network of 64 bits is one address, and other
// addresses are not concerned.
func TestUnauthenticatedRateIsLimitedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l rateLimiter
		l.set(5)
		count := func(addr string, n int) (permitted int) {
			for range n {
				if l.take(netip.MustParseAddr(addr)) == nil {
					permitted++
				}
			}
			return permitted
		}
		for _, addr := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"} {
			if n := count(addr, 200); n != 50 {
				t.Errorf("%d at once from %s, want 50", n, addr)
			}
		}
		if n := count("::ffff:192.0.2.1", 1) + count("2001:db8::ffff:2", 1) + count("2001:db8::3%eth0", 1); n != 0 {
			t.Error("the same addresses, written in another way, have tokens of their own")
		}
		if count("2001:db8:0:1::1", 1) != 1 {
			t.Error("another network of 64 bits is limited")
		}
		time.Sleep(3 * time.Second)
		if n := count("192.0.2.1", 200); n != 15 {
			t.Errorf("%d after three seconds, want 15", n)
		}
		// Those that are authenticated do not count.
		time.Sleep(time.Minute)
		for range 1000 {
			if err := l.take(netip.MustParseAddr("192.0.2.1")); err != nil {
				t.Fatal("clients with a secret are limited")
			}
			l.giveBack(netip.MustParseAddr("192.0.2.1"))
		}
		if n := count("192.0.2.1", 200); n != 50 {
			t.Errorf("%d after those, want 50", n)
		}
		// Another rate is for what comes then: no address gets a new burst.
		l.set(2)
		if l.rate() != 2 || count("192.0.2.1", 1) != 0 || count("192.0.2.9", 200) != 20 {
			t.Error("another rate has not the usual burst, or gives one to an address that has had its own")
		}
		time.Sleep(3 * time.Second)
		if n := count("192.0.2.1", 200); n != 6 {
			t.Errorf("%d after three seconds of another rate, want 6", n)
		}
		l.set(0)
		if l.rate() != 0 || count("192.0.2.1", 200) != 200 {
			t.Error("without a rate, an address is limited")
		}
	})
}

// A proxy does not search for the secrets of an address that is over its rate, and
// counts what it refuses.
func TestAddressOverItsRateIsNotSearched(t *testing.T) {
	r := run(t, func(c *Config) { c.MaxUnauthenticatedRate = 1e-6 }) // a burst of ten, and no more for days
	for range minBurst + 3 {
		conn, err := net.Dial("tcp", r.Addresses()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(bytes.Repeat([]byte("x"), 100)); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(30 * time.Second); r.proxy.Stats().RefusedAddress != 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", r.proxy.Stats())
		}
	}
}

// The memory of addresses is bounded, whatever comes.
func TestRatesOfFewAddressesAreKept(t *testing.T) {
	var l, unlimited rateLimiter
	l.set(0.1)
	for i := range 5 * rateAddresses {
		l.take(netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff)))
	}
	if n := l.buckets.Len(); n > 2*rateAddresses {
		t.Errorf("%d addresses are kept", n)
	}
	if unlimited.take(netip.MustParseAddr("192.0.2.1")) != nil || l.take(netip.Addr{}) != nil {
		t.Error("a connection is limited without a rate, or without an address")
	}
}
