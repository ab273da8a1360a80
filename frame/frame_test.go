package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
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

// "One MTProto message = one frame": the envelopes, byte for byte.
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

// "A padded client must accept all three forms": bare, framed, and framed
// followed by a NOP, with random words behind them.
func TestClientTellsTokenErrorNOPAndPayloadApart(t *testing.T) {
	stream := unhex("8afb429e" + // bare token
		"0b000000ffffffff8afb429eaabbcc" + // framed, three bytes of padding
		"0e000000ffffffff8afb429e01020304aabb" + // framed, a random word and two bytes
		"0400000000000000" + // NOP
		"070000000000000001aabb" + // NOP with padding
		"130000006cfeffff010203040506070809000102030405" + // -404 with 15 bytes of padding
		"28000000" + hex.EncodeToString(reqPQMulti))
	d := Decoder{Protocol: PaddedIntermediate, From: Server}
	want := []Packet{
		{Kind: KindQuickAck, Token: 0x9e42fb8a},
		{Kind: KindQuickAck, Token: 0x9e42fb8a},
		{Kind: KindQuickAck, Token: 0x9e42fb8a},
		{Kind: KindNOP},
		{Kind: KindNOP},
		{Kind: KindTransportError, Code: 404},
		{Kind: KindPayload},
	}
	for i, w := range want {
		p, n, err := d.Parse(stream)
		if err != nil || p.Kind != w.Kind || p.Token != w.Token || p.Code != w.Code {
			t.Fatalf("packet %d: %+v, %v, want %+v", i, p, err, w)
		}
		stream = stream[n:]
	}
	if len(stream) != 0 {
		t.Errorf("%d bytes left", len(stream))
	}
	// The same 4-byte forms from a client are lengths.
	d = Decoder{Protocol: Intermediate, From: Client}
	p, _, err := d.Parse(unhex("04000080aabbccdd"))
	if err != nil || p.Kind != KindPayload || !p.AckWanted {
		t.Errorf("from a client: %+v, %v", p, err)
	}
}

// "Its own clear error": each malformed frame, and the sentence that names it.
func TestMalformedFramesAreNamed(t *testing.T) {
	for _, test := range []struct {
		name     string
		protocol Protocol
		from     Side
		wire     string
		want     error
		text     string
	}{
		{"abridged zero", Abridged, Client, "00", ErrZeroLength, "abridged frame: empty payload"},
		{"abridged long zero", Abridged, Client, "7f000000", ErrZeroLength, "abridged frame: empty payload"},
		{"abridged beyond limit", Abridged, Client, "7fffffff", ErrTooLong, "abridged frame: length above the limit: 67108860, limit 16777216"},
		{"intermediate zero", Intermediate, Server, "00000000", ErrZeroLength, "intermediate frame: empty payload"},
		{"intermediate misaligned", Intermediate, Client, "05000000", ErrMisaligned, "intermediate frame: length is not a multiple of four: 5"},
		{"intermediate beyond limit", Intermediate, Client, "ffffff7f", ErrTooLong, "intermediate frame: length above the limit: 2147483647, limit 16777216"},
		{"padded short", PaddedIntermediate, Client, "03000000", ErrTooShort, "padded-intermediate frame: length below the least the framing allows: 3, limit 4"},
		{"padded bad token", PaddedIntermediate, Server, "08000000ffffffff8afb421e", ErrQuickAck, "padded-intermediate frame: quick ack token lacks its top bit: 1e42fb8a"},
		{"full short", Full, Client, "0b000000", ErrTooShort, "full frame: length below the least the framing allows: 11, limit 12"},
		{"full empty", Full, Client, "0c000000000000007bd5c66f", ErrZeroLength, "full frame: empty payload"},
		{"full misaligned", Full, Client, "0f000000", ErrMisaligned, "full frame: length is not a multiple of four: 15"},
		{"full negative from a client", Full, Client, "53feffff", ErrTooLong, "full frame: length above the limit: 4294966867, limit 16777228"},
		{"full wrong sequence", Full, Client, "1000000001000000", ErrSequence, "full frame: sequence number out of order: 1, want 0"},
		{"full wrong checksum", Full, Client, "1000000000000000010101011627afa1", ErrChecksum, "full frame: CRC-32 does not match: a1af2716, want a0af2716"},
		{"no protocol", 0, Client, "00", ErrProtocol, "unknown frame: no such framing"},
	} {
		d := Decoder{Protocol: test.protocol, From: test.from}
		_, n, err := d.Parse(unhex(test.wire))
		var e *Error
		if !errors.Is(err, test.want) || !errors.As(err, &e) || n != 0 {
			t.Errorf("%s: n = %d, %v", test.name, n, err)
		} else if err.Error() != test.text {
			t.Errorf("%s: %q, want %q", test.name, err, test.text)
		}
	}
}

// "A full reader should test length < 0 as an error code before CRC."
func TestFullTakesANegativeLengthForAnErrorCode(t *testing.T) {
	d := Decoder{Protocol: Full, From: Server}
	stream := unhex("53feffff53feffff53feffff")
	for len(stream) > 0 {
		p, n, err := d.Parse(stream)
		if err != nil || p.Kind != KindTransportError || p.Code != 429 {
			t.Fatalf("%+v, %v", p, err)
		}
		stream = stream[n:]
	}
}

// "Removal that keeps what a forwarding endpoint needs": the exact message
// for an endpoint, all of it for a forwarder.
func TestPaddingIsRemovedExactlyAndKept(t *testing.T) {
	encrypted := make([]byte, 24+64)
	for i := range encrypted {
		encrypted[i] = byte(i + 1)
	}
	odd := bytes.Repeat([]byte{7}, 36) // neither kind of message
	for _, test := range []struct {
		name    string
		payload []byte
		padding int
		want    int
	}{
		{"unencrypted", reqPQMulti, 15, 40},
		{"unencrypted, Android's tail", reqPQMulti, 256, 40},
		{"encrypted, no padding", encrypted, 0, 88},
		{"encrypted, whole words", encrypted, 12, 88},
		{"encrypted, 15", encrypted, 15, 88},
		{"odd keeps its words", odd, 3, 36},
	} {
		padding := bytes.Repeat([]byte{0x5a}, test.padding)
		e := Encoder{Protocol: PaddedIntermediate}
		wire, err := e.Append(nil, Packet{Payload: test.payload, Padding: padding})
		if err != nil {
			t.Fatal(err)
		}
		d := Decoder{Protocol: PaddedIntermediate}
		p, _, err := d.Parse(wire)
		if err != nil || len(p.Payload) != test.want || !bytes.Equal(p.Untrimmed(), wire[4:]) {
			t.Errorf("%s: payload %d, untrimmed %d, %v", test.name, len(p.Payload), len(p.Untrimmed()), err)
		}
		again, err := e.Append(nil, p)
		if err != nil || !bytes.Equal(again, wire) {
			t.Errorf("%s: forwarded as %x, want %x", test.name, again, wire)
		}
	}
}

// "Padding 0..15 that leaves whole words", and TDLib's handshake, whose random
// tail is inside the message's length (32 to 272 bytes behind the header) and
// whose ping has 0 or 1 for a message id: what is padding is known exactly.
func TestPaddingOfWholeWordsIsNotTakenForAMessage(t *testing.T) {
	messages := [][]byte{reqPQMulti}
	for id := range byte(2) {
		for body := 32; body <= 272; body += 16 {
			m := bytes.Repeat([]byte{0xa5}, unencryptedHeader+body)
			clear(m[:unencryptedHeader])
			m[8] = id
			binary.LittleEndian.PutUint32(m[16:], uint32(body))
			messages = append(messages, m)
		}
	}
	for blocks := 3; blocks < 8; blocks++ {
		messages = append(messages, bytes.Repeat([]byte{0xa5}, encryptedHeader+16*blocks))
	}
	for _, message := range messages {
		for padding := range 16 {
			for _, from := range []Side{Client, Server} {
				e := Encoder{Protocol: PaddedIntermediate, From: from}
				d := Decoder{Protocol: PaddedIntermediate, From: from}
				wire, err := e.Append(nil, Packet{Payload: message, Padding: bytes.Repeat([]byte{0x5a}, padding)})
				if err != nil {
					t.Fatal(err)
				}
				p, n, err := d.Parse(wire)
				if err != nil || n != len(wire) || !bytes.Equal(p.Payload, message) || len(p.Padding) != padding {
					t.Errorf("%d bytes and %d of padding from a %v: %d and %d, %v", len(message), padding, from, len(p.Payload), len(p.Padding), err)
				}
			}
		}
	}
}

// "Padding 0..15 from a real random source (client), 0..3 (server)."
func TestPaddingCoversItsRange(t *testing.T) {
	for from, most := range map[Side]int{Client: 15, Server: 3} {
		e := Encoder{Protocol: PaddedIntermediate, From: from}
		seen := map[int]int{}
		var tails [][]byte
		for range 4000 {
			wire, err := e.Append(nil, Packet{Payload: reqPQMulti})
			if err != nil {
				t.Fatal(err)
			}
			n := len(wire) - 44
			seen[n]++
			if n == most {
				tails = append(tails, wire[44:])
			}
		}
		for n := range seen {
			if n < 0 || n > most {
				t.Errorf("%v: padding of %d bytes", from, n)
			}
		}
		if len(seen) != most+1 {
			t.Errorf("%v: %d lengths seen, want %d", from, len(seen), most+1)
		}
		if len(tails) > 1 && bytes.Equal(tails[0], tails[1]) {
			t.Errorf("%v: two paddings alike: %x", from, tails[0])
		}
	}
}

// mtcute and gotd take a packet for a transport error if it has just four
// bytes: with padding behind it mtcute fails on what it then takes for a
// message.
func TestTransportErrorsAreSentWithoutPadding(t *testing.T) {
	e := Encoder{Protocol: PaddedIntermediate, From: Server}
	for range 100 {
		wire, err := e.Append(nil, Packet{Kind: KindTransportError, Code: 404})
		if want := "040000006cfeffff"; err != nil || hex.EncodeToString(wire) != want {
			t.Fatalf("%x, %v, want %s", wire, err, want)
		}
	}
}

// "Each direction has its own counter from 0, +1 per frame, including error
// packets"; a refused packet is not counted.
func TestFullCountsEveryFrameThatWasSent(t *testing.T) {
	e := Encoder{Protocol: Full, From: Server}
	var wire []byte
	var err error
	for i, p := range []Packet{{Payload: reqPQMulti}, {Payload: []byte{1}}, {Kind: KindTransportError, Code: 404}, {Payload: reqPQMulti}} {
		if wire, err = e.Append(wire, p); (err != nil) != (i == 1) {
			t.Fatal(i, err)
		}
	}
	d := Decoder{Protocol: Full, From: Server}
	count := 0
	for len(wire) > 0 {
		_, n, err := d.Parse(wire)
		if err != nil {
			t.Fatal(err)
		}
		wire = wire[n:]
		count++
	}
	if count != 3 {
		t.Errorf("%d packets, want 3", count)
	}
}

func TestEncoderRefusesWhatNoTransportCarries(t *testing.T) {
	for _, test := range []struct {
		protocol Protocol
		packet   Packet
		want     error
	}{
		{Abridged, Packet{}, ErrZeroLength},
		{Intermediate, Packet{Payload: make([]byte, 6)}, ErrMisaligned},
		{Abridged, Packet{Payload: make([]byte, 1<<26)}, ErrTooLong},
		{Intermediate, Packet{Kind: KindTransportError}, ErrCode},
		{Intermediate, Packet{Kind: KindTransportError, Code: 1<<31 + 1}, ErrCode},
		{Intermediate, Packet{Kind: KindQuickAck, Token: 1}, ErrQuickAck},
		{Full, Packet{Kind: KindQuickAck, Token: 1 << 31}, ErrNoQuickAck},
		{0, Packet{Payload: reqPQMulti}, ErrProtocol},
	} {
		e := Encoder{Protocol: test.protocol, From: Server}
		if got, err := e.Append([]byte("kept"), test.packet); !errors.Is(err, test.want) || string(got) != "kept" {
			t.Errorf("%v %v: %q, %v, want %v", test.protocol, test.packet.Kind, got, err, test.want)
		}
	}
	client := Encoder{Protocol: Intermediate}
	for _, p := range []Packet{{Kind: KindQuickAck, Token: 1 << 31}, {Kind: KindTransportError, Code: 404}, {Kind: KindNOP}} {
		if _, err := client.Append(nil, p); !errors.Is(err, ErrSide) {
			t.Errorf("a client's %v: %v", p.Kind, err)
		}
	}
	client.Protocol = Full
	if _, err := client.Append(nil, Packet{Payload: reqPQMulti, AckWanted: true}); !errors.Is(err, ErrNoQuickAck) {
		t.Errorf("a quick ack wanted over Full: %v", err)
	}
}

// "auth_key = 00,01,…,ff; plaintext = 64 × 42": token 9e42fb8a; and the same
// for MTProto 1.0 over 50 bytes.
func TestQuickAckTokensMatchTheWorkedExamples(t *testing.T) {
	key := make([]byte, 256)
	for i := range key {
		key[i] = byte(i)
	}
	if got := QuickAckToken(key, bytes.Repeat([]byte{0x42}, 64), Client); got != 0x9e42fb8a {
		t.Errorf("2.0: %08x", got)
	}
	if got := QuickAckTokenV1(bytes.Repeat([]byte{0x42}, 50)); got != 0x980322a9 {
		t.Errorf("1.0: %08x", got)
	}
}

// "Steady state: 0 allocations per packet."
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

// FuzzDecoder holds the decoder to this: what it accepts, the encoder writes
// back byte for byte (but for forms that the encoder never chooses), and what
// it needs more bytes for, it needs at every shorter length as well.
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
			// The short way says what the long way says.
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

func BenchmarkCodec1KiB(b *testing.B)  { benchmarkCodec(b, 1<<10) }
func BenchmarkCodec64KiB(b *testing.B) { benchmarkCodec(b, 64<<10) }

// MTProxy's form of a quick acknowledgement: a framed token, and a NOP at once
// behind it. An Encoder's packets have nothing of the one before.
func TestNOPBehindAQuickAckIsZero(t *testing.T) {
	for _, before := range []Packet{{Kind: KindQuickAck, Token: 0x9e42fb8a}, {Kind: KindTransportError, Code: 404}} {
		e := Encoder{Protocol: PaddedIntermediate, From: Server}
		before.Padding = []byte{}
		if _, err := e.Append(nil, before); err != nil {
			t.Fatal(err)
		}
		got, err := e.Append(nil, Packet{Kind: KindNOP, Padding: []byte{}})
		if err != nil || string(got) != "\x04\x00\x00\x00\x00\x00\x00\x00" {
			t.Errorf("behind %v: % x, %v", before.Kind, got, err)
		}
	}
}
