package frame

import (
	"encoding/hex"
	"errors"
	"testing"
)

// In PaddedIntermediate, a token can be bare, framed, or framed with a NOP after
// it, and random words can follow.
func TestClientDistinguishesTokenErrorNOPAndPayload(t *testing.T) {
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

func TestMalformedFramesHaveTheirOwnErrors(t *testing.T) {
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

// A data centre under flood has sent -429 as length, as sequence number and as
// body.
func TestFullParsesANegativeLengthAsAnErrorCode(t *testing.T) {
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
