package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/mtwiretest"
)

// upstreams parses upstreams.
func upstreams(t *testing.T, texts ...string) (all []Upstream) {
	t.Helper()
	for _, text := range texts {
		u, err := ParseUpstream(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// UnmarshalText, for configuration files, parses as ParseUpstream does.
func TestUpstreamIsParsedAndShownWithoutCredentials(t *testing.T) {
	const text = "socks5://me:hunter2@127.0.0.1:1080?weight=2"
	u, err := ParseUpstream(text)
	if err != nil || u.String() != "socks5://127.0.0.1:1080" {
		t.Errorf("%v, %v", u, err)
	}
	var v Upstream
	if err := v.UnmarshalText([]byte(text)); err != nil || v != u {
		t.Errorf("%v, %v", v, err)
	}
	if (Upstream{}).String() != "direct" {
		t.Errorf("the zero value is %v", Upstream{})
	}
}

func TestBadUpstreamIsRefusedWithoutQuotingIt(t *testing.T) {
	for _, text := range []string{"", "ftp://x:1", "socks5://me:hunter2@host"} {
		u, err := ParseUpstream(text)
		if err == nil || strings.Contains(err.Error(), "hunter2") || u != (Upstream{}) {
			t.Errorf("%q: %v, %v", text, u, err)
		}
		if v := upstreams(t, "http://x:1")[0]; v.UnmarshalText([]byte(text)) == nil || v.String() != "http://x:1" {
			t.Errorf("%q changes an upstream to %v", text, v)
		}
	}
}

// packetOutbound returns upstreams that carry packets.
type packetOutbound struct{ closed int }

func (o *packetOutbound) Dial(context.Context, route.Request) (*route.Upstream, error) {
	return &route.Upstream{Via: "direct", Address: "dc.test:443", Packets: o}, nil
}

func (o *packetOutbound) Send(context.Context, frame.Packet) error { return net.ErrClosed }

func (o *packetOutbound) Receive(context.Context) (frame.Packet, error) {
	return frame.Packet{}, net.ErrClosed
}

func (o *packetOutbound) Close() error {
	o.closed++
	return nil
}

// A session whose upstream carries packets ends with an error, because sessions are
// relayed as streams.
func TestUpstreamOfPacketsIsRefused(t *testing.T) {
	ended, outbound := &reports{}, &packetOutbound{}
	inBubble(t, Config{Traces: []*Trace{ended.trace()}}, nil, func(t *testing.T, b *bubble) {
		b.outbound = outbound
		b.join(mtwiretest.PaddedSecret).Handshake(b.ctx)
		synctest.Wait()
		if r := ended.wait(t, 1)[0]; !errors.Is(r.Err, errNoStream) || r.Stage != Authenticated || outbound.closed != 1 {
			t.Errorf("%+v, closed %d times", r, outbound.closed)
		}
	})
}
