package frame

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// reqPQMulti is the unencrypted req_pq_multi of the worked examples.
var reqPQMulti = unhex("0000000000000000785634120000706714000000f18e7ebea0a1a2a3a4a5a6a7a8a9aaabacadaeaf")

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// Every packet is encoded as one frame, and parsed from it alone.
func TestEnvelopesMatchTheWorkedExamples(t *testing.T) {
	long := bytes.Repeat([]byte{0x42}, 127*4)
	for _, test := range []struct {
		protocol Protocol
		from     Side
		packet   Packet
		want     string
	}{
		{Abridged, Client, Packet{Payload: reqPQMulti}, "0a" + hex.EncodeToString(reqPQMulti)},
		{Abridged, Client, Packet{Payload: reqPQMulti, AckWanted: true}, "8a" + hex.EncodeToString(reqPQMulti)},
		{Abridged, Client, Packet{Payload: long}, "7f7f0000" + hex.EncodeToString(long)},
		{Abridged, Client, Packet{Payload: long, AckWanted: true}, "ff7f0000" + hex.EncodeToString(long)},
		{Abridged, Server, Packet{Kind: KindTransportError, Code: 404}, "016cfeffff"},
		{Abridged, Server, Packet{Kind: KindQuickAck, Token: 0x9e42fb8a}, "9e42fb8a"},
		{Intermediate, Client, Packet{Payload: reqPQMulti}, "28000000" + hex.EncodeToString(reqPQMulti)},
		{Intermediate, Client, Packet{Payload: reqPQMulti, AckWanted: true}, "28000080" + hex.EncodeToString(reqPQMulti)},
		{Intermediate, Server, Packet{Kind: KindTransportError, Code: 404}, "040000006cfeffff"},
		{Intermediate, Server, Packet{Kind: KindTransportError, Code: 403}, "040000006dfeffff"},
		{Intermediate, Server, Packet{Kind: KindTransportError, Code: 429}, "0400000053feffff"},
		{Intermediate, Server, Packet{Kind: KindTransportError, Code: 444}, "0400000044feffff"},
		{Intermediate, Server, Packet{Kind: KindQuickAck, Token: 0x9e42fb8a}, "8afb429e"},
		{Intermediate, Server, Packet{Kind: KindNOP}, "0400000000000000"},
		{PaddedIntermediate, Client, Packet{Payload: reqPQMulti, Padding: bytes.Repeat([]byte{0x5a}, 7)}, "2f000000" + hex.EncodeToString(reqPQMulti) + "5a5a5a5a5a5a5a"},
		{PaddedIntermediate, Server, Packet{Kind: KindTransportError, Code: 404, Padding: unhex("aabbcc")}, "070000006cfeffffaabbcc"},
		{PaddedIntermediate, Server, Packet{Kind: KindQuickAck, Token: 0x9e42fb8a, Padding: unhex("aa")}, "09000000ffffffff8afb429eaa"},
		{Full, Client, Packet{Payload: unhex("01010101")}, "1000000000000000010101011627afa0"},
		{Full, Server, Packet{Kind: KindTransportError, Code: 404}, "10000000000000006cfeffff0d2f4107"},
		{Full, Client, Packet{Payload: reqPQMulti}, "3400000000000000" + hex.EncodeToString(reqPQMulti) + "24944c55"},
	} {
		e := Encoder{Protocol: test.protocol, From: test.from}
		got, err := e.Append(nil, test.packet)
		if err != nil || hex.EncodeToString(got) != test.want {
			t.Errorf("%v from %v: %x, %v, want %s", test.protocol, test.from, got, err, test.want)
			continue
		}
		d := Decoder{Protocol: test.protocol, From: test.from}
		for i := range got {
			if _, n, err := d.Parse(got[:i]); err != ErrIncomplete || n != 0 {
				t.Errorf("%v: %d of %d bytes: n = %d, %v, want ErrIncomplete", test.protocol, i, len(got), n, err)
			}
		}
		p, n, err := d.Parse(append(got, 0xff, 0xff, 0xff, 0xff))
		if err != nil || n != len(got) || p.Kind != test.packet.Kind || p.AckWanted != test.packet.AckWanted ||
			p.Code != test.packet.Code || p.Token != test.packet.Token {
			t.Errorf("%v: parsed %+v, n = %d, %v", test.protocol, p, n, err)
		}
		if p.Kind == KindPayload && !bytes.Equal(p.Payload, test.packet.Payload) {
			t.Errorf("%v: payload %x, want %x", test.protocol, p.Payload, test.packet.Payload)
		}
	}
}

func TestCodecsDoNotAllocate(t *testing.T) {
	payload := make([]byte, 1024)
	payload[0] = 1
	for _, protocol := range Protocols {
		e := Encoder{Protocol: protocol}
		d := Decoder{Protocol: protocol}
		buf := make([]byte, 0, 2048)
		if n := testing.AllocsPerRun(200, func() {
			wire, err := e.Append(buf, Packet{Payload: payload})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := d.Parse(wire); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations a packet", protocol, n)
		}
	}
}

// FuzzDecoder checks that the encoder reproduces every accepted packet byte for
// byte (except for forms that the encoder never uses), and that every part of an
// accepted packet is incomplete.
func FuzzDecoder(f *testing.F) {
	for _, protocol := range Protocols {
		for _, from := range []Side{Client, Server} {
			e := Encoder{Protocol: protocol, From: from, Rand: bytes.NewReader(make([]byte, 64))}
			for _, p := range []Packet{
				{Payload: reqPQMulti, AckWanted: protocol != Full}, {Payload: make([]byte, 508)},
				{Kind: KindQuickAck, Token: 0x9e42fb8a}, {Kind: KindTransportError, Code: 404}, {Kind: KindNOP},
			} {
				if wire, err := e.Append(nil, p); err == nil {
					f.Add(byte(protocol), byte(from), wire)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, protocol, from byte, b []byte) {
		d := Decoder{Protocol: Protocol(protocol), From: Side(from & 1), MaxLength: 1 << 20}
		if payload, padding, n := d.ParsePayload(b); n > 0 {
			// The fast path returns the same as the slow one.
			var p Packet
			m, err := 0, error(nil)
			if d.Protocol == Abridged {
				m, err = d.parseAbridged(b, &p)
			} else {
				m, err = d.parseIntermediate(b, &p)
			}
			if err != nil || m != n || p.Kind != KindPayload || p.AckWanted || !bytes.Equal(p.Payload, payload) || !bytes.Equal(p.Padding, padding) {
				t.Fatalf("%x: %d bytes taken, or %d: %+v, %v", b, n, m, p, err)
			}
		}
		p, n, err := d.Parse(b)
		if err != nil {
			if n != 0 {
				t.Fatalf("consumed %d with %v", n, err)
			}
			return
		}
		if n <= 0 || n > len(b) || len(p.Payload)+len(p.Padding) > n {
			t.Fatalf("n = %d of %d, %+v", n, len(b), p)
		}
		short := Decoder{Protocol: d.Protocol, From: d.From, MaxLength: 1 << 20}
		if _, _, err := short.Parse(b[:rand.IntN(n)]); err != ErrIncomplete {
			t.Fatalf("a part of it gives %v", err)
		}
		e := Encoder{Protocol: d.Protocol, From: d.From}
		wire, err := e.Append(nil, p)
		if err != nil {
			t.Fatalf("accepted %x, cannot write it: %v", b[:n], err)
		}
		switch {
		case d.Protocol == Abridged && b[0]&0x7f == 0x7f && n < 4+127*4:
		case p.Kind == KindQuickAck && n == 4:
		case p.Kind != KindPayload && d.Protocol != PaddedIntermediate:
		default:
			if !bytes.Equal(wire, b[:n]) {
				t.Fatalf("%x was written back as %x", b[:n], wire)
			}
		}
		again := Decoder{Protocol: d.Protocol, From: d.From, MaxLength: 1 << 20}
		q, _, err := again.Parse(wire)
		if err != nil || q.Kind != p.Kind || q.Token != p.Token || q.Code != p.Code || q.AckWanted != p.AckWanted ||
			(p.Kind == KindPayload && !bytes.Equal(q.Payload, p.Payload)) {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
	})
}

func benchmarkCodec(b *testing.B, size int) {
	payload := make([]byte, size)
	payload[0] = 1
	for _, protocol := range Protocols {
		b.Run("append/"+protocol.String(), func(b *testing.B) {
			e := Encoder{Protocol: protocol}
			buf := make([]byte, 0, size+64)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Append(buf, Packet{Payload: payload}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("parse/"+protocol.String(), func(b *testing.B) {
			e := Encoder{Protocol: protocol}
			wire, err := e.Append(nil, Packet{Payload: payload})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				d := Decoder{Protocol: protocol}
				if _, _, err := d.Parse(wire); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCodec1KiB(b *testing.B) { benchmarkCodec(b, 1<<10) }

func BenchmarkCodec64KiB(b *testing.B) { benchmarkCodec(b, 64<<10) }
