package classify

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

const (
	// flightsPerKind is how often each hello is sent to each server.
	flightsPerKind = 5
	// flightGap is the time without bytes after which a flight is complete.
	flightGap = 150 * time.Millisecond
	// flightTimeout bounds the wait for its first byte.
	flightTimeout = 5 * time.Second
)

// flight is a server's answer to a hello.
type flight struct {
	ja3s, ja4s string
	records    []tlswire.Record
	delay      time.Duration // until the first byte
}

// answers sends a hello of that kind several times, and returns the answers. sign
// is for the FakeTLS server at the address.
func answers(ctx context.Context, address string, k helloKind, sign bool) (all []flight, err error) {
	for range flightsPerKind {
		hello, err := k.hello()
		if err != nil {
			return nil, fmt.Errorf("hello %s: %w", k.name, err)
		}
		if sign {
			hello, err = faketls.AppendClientHello(nil, &faketls.ClientConfig{
				Key: probe.Key(), Domain: site.Domain,
				Hello: func(string) ([]byte, error) { return hello, nil },
			})
			if err != nil {
				return nil, fmt.Errorf("hello %s: %w", k.name, err)
			}
		}
		f, err := answer(ctx, address, hello)
		if err != nil {
			return nil, fmt.Errorf("hello %s: %w", k.name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// answer sends a hello, and returns the flight.
func answer(ctx context.Context, address string, hello []byte) (f flight, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return f, err
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetLinger(0)
	start := time.Now()
	if _, err := conn.Write(hello); err != nil {
		return f, err
	}
	var received []byte
	b := make([]byte, 64<<10)
	for timeout := flightTimeout; ; timeout = flightGap {
		conn.SetReadDeadline(time.Now().Add(timeout))
		n, err := conn.Read(b)
		if n > 0 && len(received) == 0 {
			f.delay = time.Since(start)
		}
		if received = append(received, b[:n]...); err != nil {
			break
		}
	}
	f.records, _ = tlswire.Records(received)
	if h, err := tlswire.FirstServerHello(received); err == nil {
		f.ja3s, f.ja4s = h.JA3SText()+" = "+h.JA3S(), h.JA4S()
		if h.IsRetry() {
			f.ja4s += " (HelloRetryRequest)"
		}
	} else {
		f.ja3s, f.ja4s = "none", "none"
	}
	return f, nil
}

// lengths describes the records of a flight.
func lengths(records []tlswire.Record) string {
	var parts []string
	for _, r := range records {
		parts = append(parts, fmt.Sprintf("%d:%d", r.Type, len(r.Body)))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, " ")
}

// total is the length of the flight on the wire.
func total(records []tlswire.Record) (n int) {
	for _, r := range records {
		n += tlswire.HeaderLength + len(r.Body)
	}
	return n
}

// measuringTime is how long a proxy has to ask the site about a kind of hello that
// it has not seen before.
const measuringTime = 20 * time.Second

// compareFlights compares the answers to each kind of hello, when the proxy has seen
// all of them.
func compareFlights(ctx context.Context, atSite, atProxy string) (rows []Row, err error) {
	for _, k := range helloKinds {
		if _, err := answers(ctx, atProxy, k, true); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(measuringTime):
	}
	for _, k := range helloKinds {
		s, err := answers(ctx, atSite, k, false)
		if err != nil {
			return nil, fmt.Errorf("site: %w", err)
		}
		p, err := answers(ctx, atProxy, k, true)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		rows = append(rows,
			distinct("ja3s-"+k.name, s, p, func(f flight) string { return f.ja3s }),
			distinct("ja4s-"+k.name, s, p, func(f flight) string { return f.ja4s }),
			distinct("flight-"+k.name, s, p, func(f flight) string { return fmt.Sprint(total(f.records)) }),
			distinct("flight-records-"+k.name, s, p, func(f flight) string { return lengths(f.records) }),
		)
		if k.name == "chrome" {
			rows = append(rows, delays(s, p))
		}
	}
	return rows, nil
}

// distinct compares the values of a property: the proxy's must be among the site's.
func distinct(name string, site, proxy []flight, property func(flight) string) Row {
	values := func(all []flight) (distinct []string) {
		for _, f := range all {
			if v := property(f); !slices.Contains(distinct, v) {
				distinct = append(distinct, v)
			}
		}
		return distinct
	}
	s, p := values(site), values(proxy)
	return Row{
		Name: name, Site: []string{strings.Join(s, " or ")}, Proxy: strings.Join(p, " or "),
		Same: !slices.ContainsFunc(p, func(v string) bool { return !slices.Contains(s, v) }),
	}
}

// minDelay is the smallest difference of delays that counts: an observer does not
// see less behind the noise of a network.
const minDelay = 2 * time.Millisecond

// delays compares the times until the first byte: they differ if their ranges do not
// overlap and the medians differ by minDelay.
func delays(site, proxy []flight) Row {
	sorted := func(all []flight) (d []time.Duration) {
		for _, f := range all {
			d = append(d, f.delay)
		}
		slices.Sort(d)
		return d
	}
	s, p := sorted(site), sorted(proxy)
	text := func(d []time.Duration) string {
		return fmt.Sprintf("%v to %v", d[0].Round(100*time.Microsecond), d[len(d)-1].Round(100*time.Microsecond))
	}
	apart := s[0] > p[len(p)-1] || p[0] > s[len(s)-1]
	difference := s[len(s)/2] - p[len(p)/2]
	return Row{
		Name: "first-record-delay", Site: []string{text(s)}, Proxy: text(p),
		Same: !apart || max(difference, -difference) < minDelay,
	}
}
