package route

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/obfuscation"
)

// connect makes one connection for a client of dc.
func (n *network) connect(t *testing.T, r *Router, dc datacenter.DC, protocol frame.Protocol) *Upstream {
	t.Helper()
	upstream, err := r.Dial(t.Context(), Request{DC: dc, Protocol: protocol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	return upstream
}

// An address that connects and does not answer is tried last by clients of the same
// data centre, and by no others. Its back-off is that of an address that refuses.
func TestUnansweredAddressIsTriedLastForItsDataCenter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		expect := func(when string, dc datacenter.DC, want string) *Upstream {
			t.Helper()
			upstream := n.connect(t, r, dc, frame.Abridged)
			if upstream.Address != want {
				t.Errorf("%s, DC %d: %s, want %s", when, dc, upstream.Address, want)
			}
			return upstream
		}
		expect("at first", 2, "a:1").Unanswered()
		expect("afterwards", 2, "b:1").Answered()
		expect("afterwards", 4, "a:1").Answered()
		time.Sleep(firstBackOff - time.Nanosecond)
		expect("nearly ten seconds later", 2, "b:1").Answered()
		time.Sleep(time.Nanosecond)
		expect("ten seconds later", 2, "a:1").Unanswered()
		time.Sleep(2*firstBackOff - time.Nanosecond)
		expect("nearly twenty seconds later", 2, "b:1").Answered()
		time.Sleep(time.Nanosecond)
		expect("twenty seconds later", 2, "a:1").Answered()
		expect("once it answers", 2, "a:1").Unanswered()
		time.Sleep(firstBackOff)
		expect("ten seconds later, since the answer cleared its failures", 2, "a:1")
	})
}

// When the back-off is over, one client tries the address, and the others go on
// avoiding it until that one has a result, or for the time of a trial.
func TestOneClientTriesAnAddressAfterItsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		sequence := func() (s string) {
			for range 5 {
				s += n.connect(t, r, 2, frame.Abridged).Address[:1]
			}
			return s
		}
		n.connect(t, r, 2, frame.Abridged).Unanswered()
		time.Sleep(firstBackOff)
		if s := sequence(); s != "abbbb" {
			t.Errorf("after the back-off: %s", s)
		}
		time.Sleep(trialTime)
		if s := sequence(); s != "abbbb" {
			t.Errorf("after a trial without a result: %s", s)
		}
		time.Sleep(trialTime)
		n.connect(t, r, 2, frame.Abridged).Answered()
		if s := sequence(); s != "aaaaa" {
			t.Errorf("after an answer: %s", s)
		}
	})
}

// Next goes through all addresses and upstreams, each once, those in good health
// first, and then returns an error.
func TestNextTriesEachCandidateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: map[string]bool{"c:1": true}}
		r := router(t, Config{
			DataCenters: at("a:1", "b:1", "c:1", "d:1"), DialContext: n.DialContext,
			Upstreams: upstreams(t, "direct", "tg://proxy?server=m&port=1&secret=000102030405060708090a0b0c0d0e0f"),
		})
		upstream := n.connect(t, r, 2, frame.Abridged)
		var got []string
		for {
			got = append(got, upstream.Address)
			next, err := upstream.Next(t.Context())
			if err != nil {
				if !errors.Is(err, errNoOther) || upstream.HasNext() {
					t.Errorf("at the end: %v", err)
				}
				break
			}
			next.Close()
			upstream = next
		}
		expect(t, "in turn", got, []string{"a:1", "m:1", "b:1", "d:1"})
	})
}

// After maxUpstreamFailures connections in a row without an answer, the upstream
// itself is tried last for that data centre.
func TestUnansweredUpstreamIsTriedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{
			DataCenters: at("a:1", "b:1", "c:1", "d:1", "e:1", "f:1"), DialContext: n.DialContext,
			Upstreams: upstreams(t, "direct", "tg://proxy?server=m&port=1&secret=000102030405060708090a0b0c0d0e0f"),
		})
		var silent []*Upstream
		for range 2 * maxUpstreamFailures { // every second one through each upstream
			if upstream := n.connect(t, r, 2, frame.Abridged); upstream.Via == "direct" {
				silent = append(silent, upstream)
			}
		}
		for _, upstream := range silent {
			upstream.Unanswered()
		}
		for range 6 {
			if upstream := n.connect(t, r, 2, frame.Abridged); upstream.Address != "m:1" {
				t.Errorf("DC 2: %s", upstream.Address)
			}
		}
		direct := 0
		for range 6 {
			if n.connect(t, r, 4, frame.Abridged).Via == "direct" {
				direct++
			}
		}
		if direct != 3 {
			t.Errorf("DC 4: %d of 6 direct", direct)
		}
	})
}

// An upstream that does not answer clients with one framing answers those with
// padding: an MTProxy may accept nothing else.
func TestAnswersDependOnPadding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		n.connect(t, r, 2, frame.Intermediate).Unanswered()
		for protocol, want := range map[frame.Protocol]string{
			frame.Abridged: "b:1", frame.Intermediate: "b:1", frame.PaddedIntermediate: "a:1",
		} {
			if got := n.connect(t, r, 2, protocol).Address; got != want {
				t.Errorf("%v: %s, want %s", protocol, got, want)
			}
		}
	})
}

// Clients choose the number of their data centre. What is remembered of them has a
// limit, and the end of back-offs makes room.
func TestUnansweredNumbersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		for dc := range datacenter.DC(3000) {
			n.connect(t, r, 1+dc, frame.Abridged).Unanswered()
		}
		if size := len(r.upstreams[0].answers); size != maxAnswers {
			t.Errorf("%d keys", size)
		}
		time.Sleep(maxBackOff)
		n.connect(t, r, 3001, frame.Abridged).Unanswered()
		if size := len(r.upstreams[0].answers); size != 2 {
			t.Errorf("%d keys after all back-offs", size)
		}
	})
}

// A shortage of this machine's descriptors or memory fails a Dial, and is no
// failure of an address or an upstream, however it is wrapped.
func TestLocalErrorsBlameNoAddress(t *testing.T) {
	for _, local := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{}
			short := true
			r := router(t, Config{
				DataCenters: at("a:1", "b:1"),
				Upstreams:   upstreams(t, "tg://proxy?server=m&port=1&secret=000102030405060708090a0b0c0d0e0f", "direct"),
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					if short {
						return nil, local
					}
					return n.DialContext(ctx, network, address)
				},
			})
			for range 3 {
				if _, err := r.Dial(t.Context(), Request{DC: 2, Protocol: frame.Abridged}); !netx.IsLocal(err) {
					t.Errorf("%v", err)
				}
			}
			if n.dialed != nil {
				t.Errorf("%v were dialled", n.dialed)
			}
			short = false
			upstream := n.connect(t, r, 2, frame.Abridged)
			short = true
			if _, err := upstream.Next(t.Context()); !netx.IsLocal(err) {
				t.Errorf("%v", err)
			}
			short = false
			if next, err := upstream.Next(t.Context()); err != nil {
				t.Errorf("Next after the shortage: %v", err)
			} else {
				next.Close()
			}
			for _, u := range r.upstreams {
				if u.failures != 0 || u.health != (health{}) {
					t.Errorf("%v: %d failures, %+v", u, u.failures, u.health)
				}
				for address, h := range u.addressHealth {
					if *h != (health{}) {
						t.Errorf("%v, %s: %+v", u, address, *h)
					}
				}
			}
		})
	}
}

// An upstream that leads back to the caller is tried last by clients of all data
// centres. A connection to it, which succeeds, does not clear that, and neither does
// an answer to another client, except to the one that tries it after the back-off.
func TestLoopingUpstreamIsTriedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{
			DataCenters: at("a:1"), DialContext: n.DialContext,
			Upstreams: upstreams(t, "tg://proxy?server=m&port=1&secret=000102030405060708090a0b0c0d0e0f", "direct"),
		})
		sequence := func() (s string) {
			for dc := range datacenter.DC(4) {
				s += n.connect(t, r, 1+dc, frame.Abridged).Address[:1]
			}
			return s
		}
		first, second := n.connect(t, r, 2, frame.Abridged), n.connect(t, r, 2, frame.Abridged)
		if !first.MTProxy || second.MTProxy {
			t.Errorf("%+v, %+v", first, second)
		}
		if first.LeadsBack() {
			t.Error("it leads back before it is reported")
		}
		first.Looped()
		if !first.LeadsBack() || second.LeadsBack() {
			t.Error("the wrong upstream leads back")
		}
		first.Answered() // an earlier connection, late
		if s := sequence(); s != "aaaa" {
			t.Errorf("afterwards: %s", s)
		}
		time.Sleep(firstBackOff)
		if s := sequence(); strings.Count(s, "m") != 1 {
			t.Errorf("after the back-off: %s", s)
		}
		first.Answered()
		if s := sequence(); strings.Count(s, "m") != 2 {
			t.Errorf("after an answer: %s", s)
		}
	})
}

// An MTProxy gets the trailer of the client's init payload, a data centre another
// one.
func TestTrailerIsPassedToMTProxiesOnly(t *testing.T) {
	key := [16]byte{1, 2, 3}
	for link, want := range map[string]bool{
		"direct": false,
		"tg://proxy?server=m&port=1&secret=01020300000000000000000000000000": true,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{}
			r := router(t, Config{DataCenters: at("a:1"), DialContext: n.DialContext, Upstreams: upstreams(t, link)})
			passed := 0
			for i := range 3 {
				trailer := [2]byte{byte(i), 0xaa}
				upstream, err := r.Dial(t.Context(), Request{DC: 2, Protocol: frame.Abridged, Trailer: &trailer})
				if err != nil {
					t.Fatal(err)
				}
				upstream.Close()
				keys := [][16]byte{key}
				if !want {
					keys = nil
				}
				init, err := obfuscation.Match((*[64]byte)(upstream.Stream.Init), keys)
				if err != nil {
					t.Fatal(err)
				}
				if init.Trailer == trailer {
					passed++
				}
			}
			if want != (passed == 3) {
				t.Errorf("%s: passed in %d of 3", link, passed)
			}
		})
	}
}
