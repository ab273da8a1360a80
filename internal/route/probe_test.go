package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// resultsOf returns the probes of a data centre by upstream: the address, or the error.
func resultsOf(probes []Probe, dc datacenter.DC) (results []string) {
	for _, p := range probes {
		if p.DC == dc {
			result := p.Address
			if p.Err != nil {
				result = p.Err.Error()
			}
			results = append(results, result)
		}
	}
	return results
}

// All main data centres, and those that are configured, are asked over each upstream:
// directly, through proxies, and through MTProxies with every kind of secret.
func TestProbeAsksEachDataCenterOverEachUpstream(t *testing.T) {
	dc, _ := dataCenter(t)
	socks := listen(t)
	serve(t, socks, func(conn net.Conn) error { return new(loopback.Proxy).SOCKS5(conn) })
	texts := []string{"direct", "socks5://" + socks.Addr().String()}
	want := []string{dc, dc}
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		parsed, err := mtproxy.ParseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		address, _ := dataCenter(t, parsed)
		_, port, _ := net.SplitHostPort(address)
		texts = append(texts, "tg://proxy?server=127.0.0.1&port="+port+"&secret="+secret)
		want = append(want, address)
	}
	r := router(t, Config{
		DataCenters: map[datacenter.DC][]string{0: {dc}, -2: {dc}, 10002: {dc}},
		Upstreams:   upstreams(t, texts...),
	})
	probes := r.Probe(short(t))
	if n := len(probes); n != 7*len(texts) {
		t.Errorf("%d probes", n)
	}
	for _, number := range []datacenter.DC{-2, 1, 2, 3, 4, 5, 10002} {
		if got := resultsOf(probes, number); !slices.Equal(got, want) {
			t.Errorf("data centre %v: %q, want %q", number, got, want)
		}
	}
	for i, p := range probes {
		if p.Duration <= 0 || p.Upstream != r.upstreams[i%len(texts)].String() {
			t.Errorf("%+v", p)
		}
	}
}

// An address that refuses, closes, stays silent or answers something else is no data
// centre, and the next one is asked.
func TestProbeIsNotContentWithAConnection(t *testing.T) {
	dc, _ := dataCenter(t)
	closing, silent, other := listen(t), listen(t), listen(t)
	serve(t, closing, func(conn net.Conn) error { _, err := io.ReadFull(conn, make([]byte, 64)); return err })
	serve(t, silent, func(conn net.Conn) error { _, err := io.Copy(io.Discard, conn); return err })
	serve(t, other, func(conn net.Conn) error {
		io.ReadFull(conn, make([]byte, 64))
		_, err := fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return err
	})
	dead := deadAddress(t)
	for name, c := range map[string]struct {
		addresses []string
		want      string
	}{
		"refuses": {[]string{dead}, dead + " (direct): connect: connection refused"},
		"closes":  {[]string{closing.Addr().String()}, closing.Addr().String() + " (direct): "},
		"silent":  {[]string{silent.Addr().String()}, silent.Addr().String() + " (direct): no answer in time"},
		"other":   {[]string{other.Addr().String()}, other.Addr().String() + " (direct): "},
		"next":    {[]string{closing.Addr().String(), silent.Addr().String(), dc}, dc},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := time.Minute
			if slices.Contains(c.addresses, silent.Addr().String()) {
				timeout = 300 * time.Millisecond // in which it must be connected, and the others answer
			}
			if err := loopback.Undisturbed(timeout/4, func() error {
				r := router(t, Config{DataCenters: at(c.addresses...), DialTimeout: timeout})
				if got := resultsOf(r.Probe(short(t)), 2)[0]; !strings.HasPrefix(got, c.want) {
					return fmt.Errorf("%q, want %q", got, c.want)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A probe ends with its context, and leaves nothing behind.
func TestProbeEndsWithItsContext(t *testing.T) {
	silent := listen(t)
	serve(t, silent, func(conn net.Conn) error { _, err := io.Copy(io.Discard, conn); return err })
	r := router(t, Config{DataCenters: at(silent.Addr().String()), DialTimeout: time.Hour})
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	time.AfterFunc(50*time.Millisecond, func() { cancel(over) })
	for _, p := range r.Probe(ctx) {
		if p.Err != over {
			t.Errorf("%+v", p)
		}
	}
}

// ProbeClassic finds the MTProxies that take dd and ee clients only, whatever their
// links are. Other clients are dialled over the others, or refused if there are none.
func TestClassicClientsUseUpstreamsThatTakeThem(t *testing.T) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{{Key: [16]byte{7}}},
		Allow: func(t mtwire.Transport) error {
			if t.Protocol != mtwire.PaddedIntermediate {
				return errors.New("classic")
			}
			return nil
		},
		Unauthenticated: func(context.Context, net.Conn, error) {}, // closes conn
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, mtwiretest.Echo) }()
	t.Cleanup(func() { cancel(); <-served })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	const key = "07000000000000000000000000000000"
	for _, prefix := range []string{"", "dd"} {
		link := "tg://proxy?server=127.0.0.1&port=" + port + "&secret=" + prefix + key
		for _, more := range [][]string{nil, {"direct"}} {
			dc, _ := dataCenter(t)
			r := router(t, Config{DataCenters: at(dc), Upstreams: upstreams(t, append([]string{link}, more...)...)})
			padded, all := r.ProbeClassic(short(t), r.Probe(short(t)))
			if len(padded) != 1 || padded[0] != r.upstreams[0].String() || all != (more == nil) {
				t.Errorf("%s: %q, all: %v", link, padded, all)
			}
			for range 3 {
				upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
				if more == nil && errors.Is(err, ErrPaddedOnly) {
					continue
				}
				if err != nil || upstream.Via != "direct" {
					t.Fatalf("%v, %v", upstream, err)
				}
				if upstream.HasNext() {
					t.Error("the client may be moved on to the MTProxy")
				}
				upstream.Close()
			}
			upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.PaddedIntermediate})
			if err != nil {
				t.Fatal(err)
			}
			upstream.Close()
		}
	}
	parsed, err := mtproxy.ParseSecret("dd" + key)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := dataCenter(t, parsed) // takes all framings
	_, port, _ = net.SplitHostPort(address)
	r := router(t, Config{Upstreams: upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret=dd"+key)})
	if padded, all := r.ProbeClassic(short(t), r.Probe(short(t))); padded != nil || all {
		t.Errorf("%q, all: %v", padded, all)
	}
}

// An MTProxy that cannot be connected to when ProbeClassic asks, for want of a descriptor or
// because it restarts, is not taken for one that refuses classic clients.
func TestClassicClientsKeepUpstreamsThatCannotBeAsked(t *testing.T) {
	parsed, err := mtproxy.ParseSecret("07000000000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	address, _ := dataCenter(t, parsed)
	_, port, _ := net.SplitHostPort(address)
	for _, errno := range []error{netx.EMFILE, netx.ECONNREFUSED} {
		var fails atomic.Bool
		r := router(t, Config{
			Upstreams: upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret=07000000000000000000000000000000"),
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if fails.Load() {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		})
		probes := r.Probe(short(t))
		fails.Store(true)
		if padded, all := r.ProbeClassic(short(t), probes); padded != nil || all {
			t.Errorf("%v: %q, all: %v", errno, padded, all)
		}
	}
}

// ProbeAny returns as soon as one data centre has answered, beside one that refuses
// connections and one that is silent. If none answers, it has the errors of all.
func TestProbeAnyNeedsOneAnswer(t *testing.T) {
	dc, _ := dataCenter(t)
	silent := listen(t)
	serve(t, silent, func(conn net.Conn) error {
		_, err := io.Copy(io.Discard, conn)
		return err
	})
	dead := deadAddress(t)
	addresses := map[datacenter.DC][]string{0: {dead}, 2: {silent.Addr().String()}, 3: {dc}}
	began := time.Now()
	if err := router(t, Config{DataCenters: addresses, DialTimeout: time.Minute}).ProbeAny(short(t)); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	err := router(t, Config{DataCenters: map[datacenter.DC][]string{0: {dead}}}).ProbeAny(short(t))
	if err == nil || strings.Count(err.Error(), dead) != 5 {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := router(t, Config{DataCenters: addresses}).ProbeAny(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
