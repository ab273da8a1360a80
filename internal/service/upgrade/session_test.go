package upgrade

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/proxy"
)

// randomSession returns a state with random fields, and each optional part in half of all.
func randomSession(r *rand.Rand) *proxy.SessionState {
	text := func() string { return strings.Repeat("ü", r.IntN(20)) + string(rune('a'+r.IntN(26))) }
	cursor := func() (c obfuscation.Cursor) {
		b := make([]byte, obfuscation.CursorLength)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if err := c.UnmarshalBinary(b); err != nil {
			panic(err)
		}
		return c
	}
	lengths := func() (l []int) {
		for range r.IntN(4) {
			l = append(l, r.IntN(1<<16))
		}
		return l
	}
	s := &proxy.SessionState{
		User: text(), Mode: mtproxy.Modes(r.IntN(256)), Protocol: frame.Protocol(r.IntN(256)), DC: datacenter.DC(r.IntN(1<<16) - 1<<15),
		Stage: proxy.Stage(r.IntN(256)), Upstream: text(), Address: text(), Age: time.Duration(r.Int64()), Last: time.Duration(r.Int64()),
		Unanswered: time.Duration(r.Int64()), TransportError: r.Uint32(), Receive: cursor(), Send: cursor(),
		Up: proxy.DirectionState{Bytes: r.Int64(), Ended: r.IntN(2) == 0}, Down: proxy.DirectionState{Bytes: r.Int64(), Ended: r.IntN(2) == 0},
	}
	for i := range s.Secret {
		s.Secret[i] = byte(r.Uint32())
	}
	if r.IntN(2) == 0 {
		s.Client = netip.MustParseAddrPort([]string{"192.0.2.1:1", "[2001:db8::1]:65535", "[fe80::1%eth0]:0", "[::ffff:192.0.2.1]:7"}[r.IntN(4)])
	}
	if r.IntN(2) == 0 {
		receive, send := cursor(), cursor()
		s.DownReceive, s.DownSend = &receive, &send
	}
	if r.IntN(2) == 0 {
		s.Records = &faketls.Deframer{Strict: r.IntN(2) == 0}
		s.Records.Deframe([]byte("\x17\x03\x03\x00\x05abc\x17\x03")[:r.IntN(9)])
		s.RecordLengths = &proxy.RecordLengths{Tickets: lengths(), Ramp: lengths(), Max: r.IntN(1 << 16), Sent: r.IntN(1 << 16)}
	}
	if r.IntN(2) == 0 {
		s.FirstPackets = &proxy.FirstPackets{Offset: r.Uint64(), Payloads: r.IntN(256), Rest: make([]byte, r.IntN(proxy.MaxFirstRest+1))}
		for i := range s.FirstPackets.Download {
			s.FirstPackets.Download[i] = byte(r.Uint32())
		}
		if len(s.FirstPackets.Rest) == 0 {
			s.FirstPackets.Rest = nil
		}
	}
	return s
}

// A state that is appended and parsed is the same, behind any bytes. What is cut short, or
// longer, is none.
func TestSessionsAreParsedAsTheyWereAppended(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var used decoded // by the states before
	var shared texts
	for range 2000 {
		want := randomSession(r)
		b, err := AppendSession([]byte("before"), want)
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		if len(b) > MaxSession {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := ParseSession(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\n%+v\n%v", got, want, err)
		}
		if got, err := used.parse(b, &shared); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("in used memory: %+v\n%+v\n%v", got, want, err)
		}
		if _, err := ParseSession(b[:r.IntN(len(b))]); !errors.Is(err, ErrSession) {
			t.Error("a part was parsed")
		}
		if _, err := ParseSession(append(b, 0)); !errors.Is(err, ErrSession) {
			t.Error("more was parsed")
		}
	}
	if len(shared) > maxTexts {
		t.Errorf("%d texts are kept", len(shared))
	}
}

// The longest state has room, and what is longer is not appended.
func TestSessionsHaveABound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s *proxy.SessionState
	for s == nil || s.Records == nil || s.FirstPackets == nil || s.DownSend == nil || !s.Client.IsValid() {
		s = randomSession(r)
	}
	s.User, s.Upstream, s.Address = strings.Repeat("u", maxText), strings.Repeat("v", maxText), strings.Repeat("w", maxText)
	s.RecordLengths.Tickets, s.RecordLengths.Ramp = make([]int, maxLengths), make([]int, maxLengths)
	s.FirstPackets.Rest = make([]byte, proxy.MaxFirstRest)
	b, err := AppendSession(nil, s)
	if err != nil || len(b) > MaxSession {
		t.Fatal(len(b), err)
	}
	if got, err := ParseSession(b); err != nil || !reflect.DeepEqual(got, s) {
		t.Error(err)
	}
	s.User += "u"
	if b, err := AppendSession([]byte("before"), s); err == nil || string(b) != "before" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// The bytes of a state, as docs/upgrade.md has them.
func TestSessionLayout(t *testing.T) {
	s := &proxy.SessionState{
		User: "ab", Mode: 2, Protocol: 3, DC: -2, Stage: 6, Client: netip.MustParseAddrPort("192.0.2.1:258"),
		Upstream: "direct", Address: "x", Age: 1, Last: 2, Unanswered: 3, TransportError: 404,
		Up: proxy.DirectionState{Bytes: 4, Ended: true}, Down: proxy.DirectionState{Bytes: 5},
	}
	b, err := AppendSession(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	numbers := func(n ...byte) (b []byte) {
		for _, n := range n {
			b = append(b, 0, 0, 0, 0, 0, 0, 0, n)
		}
		return b
	}
	want := bytes.Join([][]byte{
		{3, 2, 3, 6, 0xff, 0xfe}, make([]byte, 16), {0, 0, 1, 0x94}, numbers(1, 2, 3, 4, 5),
		[]byte("\x00\x02ab\x00\x06direct\x00\x01x"), {6, 192, 0, 2, 1, 2, 1}, // the port is little-endian in netip's format
		make([]byte, 2*obfuscation.CursorLength),
	}, nil)
	if !bytes.Equal(b, want) {
		t.Errorf("%x\n%x", b, want)
	}
}

// What is parsed is appended as the same bytes, and nothing else is read.
func FuzzParseSession(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b, err := AppendSession(nil, randomSession(r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSession(b)
		if err != nil {
			return
		}
		if again, err := AppendSession(nil, s); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x\n%x\n%v", b, again, err)
		}
	})
}
